/*
 * keylease.h: data keys that the key agent lends for a while, and reads with them.
 */
#ifndef HV_KEYLEASE_H
#define HV_KEYLEASE_H

#include "hyperion_vault.h"

#include "call.h"

/* keylease.c */
extern const unsigned char *HvUseLease(const HvBinding *binding, const HvStored *stored);
extern void HvEndLeaseUse(void);
extern bool HvCanLease(void);
extern void HvKeepLease(const HvBinding *binding, const HvStored *stored, const unsigned char *key, int64 from, uint64 ms);
extern void HvDropLeases(void);
extern int64 HvLeaseClock(void);

/* leasedread.c */
extern bytea *HvOpenLeased(HvCall *call, HvBinding *binding, HvStored *stored);
extern bytea *HvOpenLeasing(HvCall *call, HvBinding *binding, HvStored *stored);

/* leasedrecord.c */
extern bool HvRecordLeased(const HvCall *call, int64 version);
extern bool HvTakeLeasedFile(uint64 number, int fd);
extern uint64 HvLeasedFile(void);
extern void HvCloseLeasedFile(void);

#endif
