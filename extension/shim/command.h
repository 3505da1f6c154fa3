/*
 * command.h: commands that are refused.
 */
#ifndef HV_COMMAND_H
#define HV_COMMAND_H

#include "nodes/primnodes.h"

#define HV_ALLOW_HINT	"If it has to be: SET hyperion_vault.allow_unsafe_grants = on;"

extern void HvCheckCommand(Node *command);
extern void HvCheckRewrite(Node *command);
extern void HvCheckStructure(Node *command);
extern bool HvLeaveOut(Node *command);
extern Oid	HvSchema(void);
extern bool HvInSchema(const RangeVar *relation, Oid schema);

#endif
