/*
 * request.h: what reads and changes ask of Go no more.
 */
#ifndef HV_REQUEST_H
#define HV_REQUEST_H

#include "hyperion_vault.h"

#include "lib/stringinfo.h"

/* as in core/frame */
#define HV_PROTOCOL_VERSION	1
#define HV_OP_GENERATE		1
#define HV_OP_UNWRAP		2
#define HV_OP_READ_EACH		4
#define HV_OP_LEASE			5

extern void HvPut(StringInfo to, HvBytes bytes);
extern void HvBeginRequest(StringInfo frame, const HvOrigin *origin, char op);
extern HvBytes HvEndRequest(StringInfo frame);

extern bool HvIsName(HvBytes name);
extern bool HvIsReadableText(HvBytes content_type);
extern void HvCheckReadableText(HvBytes content_type);
extern void HvCheckGivenText(HvBytes content_type);
extern bool HvIsPlainType(HvBytes content_type);
extern bool HvIsPlainValue(HvBytes content_type, HvBytes value);
extern bool HvIsPlainKey(HvBytes key_id, HvBytes wrapped);
extern HvBytes HvPlainGenerateRequest(const HvOrigin *origin, const HvBinding *binding);
extern HvBytes HvPlainUnwrapRequest(const HvOrigin *origin, HvBytes action, const HvBinding *binding,
									const HvStored *stored, int n);
extern HvBytes HvPlainLeaseRequest(const HvOrigin *origin, const HvBinding *binding, const HvStored *stored, uint64 secs,
								   uint64 file);
extern bool HvIsPlainOrigin(const HvOrigin *origin);

#endif
