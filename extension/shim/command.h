/*
 * command.h: commands that are refused.
 */
#ifndef HV_COMMAND_H
#define HV_COMMAND_H

#include "nodes/nodes.h"

extern void HvCheckCommand(Node *command);
extern bool HvLeaveOut(Node *command);

#endif
