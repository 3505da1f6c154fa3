/*
 * agent.h: the conversation with the key agent.
 */
#ifndef HV_AGENT_H
#define HV_AGENT_H

#include "hyperion_vault.h"

extern HvBytes HvAgentExchange(HvBytes request);
extern int	HvAgentTakeDescriptor(void);
extern bool HvAgentIsThere(void);
extern bool HvAgentLends(void);
extern void HvAgentDisconnect(void);

#endif
