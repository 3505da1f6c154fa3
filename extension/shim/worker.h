/*
 * worker.h: what the background workers of the vault have in common.
 */
#ifndef HV_WORKER_H
#define HV_WORKER_H

#include "hyperion_vault.h"

#define HV_RESTART_SECS	5		/* until a crashed launcher or a supervisor that ended is started again */

/* the last message that was logged about one matter */
typedef struct HvLastLogged
{
	int			level;
	char	   *message;
} HvLastLogged;

extern void HvStartWorker(void);
extern bool HvFollowReload(void);
extern bool HvWaitOnLatch(long ms);
extern void HvLogOnce(HvLastLogged *last, const char *message);
extern void HvLogTrouble(const char *reason);
extern void HvForgetTrouble(void);
extern bool HvRunGuarded(bool (*work) (void), MemoryContext context);
extern void HvBeginWork(void);
extern void HvCommitWork(void);
extern void HvCommitAsynchronously(void);
extern bool HvHasExtension(void);
extern bool HvSchemaHas(const char *function, int nargs, const Oid *types);

#endif
