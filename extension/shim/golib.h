/*
 * golib.h: the exports of hyperion_vault_go.so, called with asynchronous signals blocked.
 */
#ifndef HV_GOLIB_H
#define HV_GOLIB_H

#include "hyperion_vault.h"

/* table of the exports, in the order of their use; extension/golib documents each */
typedef struct HvGoCalls
{
	int			(*check_name) (HvBytes name, HvError *failure);
	int			(*check_pattern) (HvBytes pattern, HvError *failure);
	int			(*check_prefix) (HvBytes prefix, HvError *failure);
	int			(*content_type) (HvBytes content_type, HvBuf *out, HvError *failure);
	int			(*check_policy) (HvBytes policy, HvError *failure);
	int			(*policy_field) (HvBytes policy, int *replaces, HvError *failure);
	int			(*check_field) (HvBytes policy, int automatic, HvBytes content_type, HvBytes value, HvError *failure);
	int			(*replace) (HvBytes policy, HvBytes current, HvBuf *out, HvError *failure);
	int			(*login) (HvBytes content_type, HvBytes value, HvBuf *username, HvBuf *password, HvError *failure);
	int			(*set_username) (HvBytes value, HvBytes username, HvBuf *out, HvError *failure);
	int			(*check_schedule) (HvBytes schedule, HvError *failure);
	int			(*check_value) (HvBytes content_type, HvBytes value, int64_t limit, HvError *failure);
	int			(*check_text) (HvBytes content_type, int given, HvError *failure);
	int			(*generate) (HvBytes policy, HvBuf *out, HvError *failure);
	int			(*generate_request) (HvOrigin *origin, HvBinding *b, HvBuf *out, HvError *failure);
	int			(*unwrap_request) (HvOrigin *origin, HvBytes action, HvBinding *b, HvStored *stored, int n,
								   HvBuf *out, HvError *failure);
	int			(*record_request) (HvOrigin *origin, HvBytes action, HvBytes name, int64_t version,
								   HvBytes outcome, HvBytes code, HvBuf *out, HvError *failure);
	int			(*recorded) (HvBytes body, HvError *failure);
	int			(*seal) (HvBytes body, HvBinding *b, HvBytes plaintext, HvSealed *out, HvError *failure);
	int			(*open) (HvBytes body, HvBinding *b, HvStored *stored, HvBuf *out, HvError *failure);
	int			(*verify) (HvBytes body, HvBinding *b, HvStored *stored, int n, HvBytes candidate,
						   int64_t *matched, HvError *failure);
	int			(*fault) (int kind, HvError *failure);
} HvGoCalls;

extern const HvGoCalls *HvGo(void);
extern void HvForbidDumps(void);
extern void HvEnterGo(sigset_t *saved);
extern void HvLeaveGo(const sigset_t *saved);
extern int	HvSqlStateOf(const char *code);
extern void HvThrow(const HvError *failure) __attribute__((noreturn));
extern HvBytes HvTakeBuf(HvBuf *buf);

/*
 * Call an export; nonzero if it failed. Signals are let through again before anything can ereport.
 */
#define HV_TRY_GO(rc, name, ...) \
	do { \
		const HvGoCalls *go_ = HvGo(); \
		sigset_t	saved_; \
		HvEnterGo(&saved_); \
		(rc) = go_->name(__VA_ARGS__); \
		HvLeaveGo(&saved_); \
	} while (0)

/*
 * Call an export and ereport(ERROR) its failure. The export takes &failure as its last argument.
 */
#define HV_CALL_GO(name, ...) \
	do { \
		HvError		failure_; \
		int			rc_; \
		HV_TRY_GO(rc_, name, __VA_ARGS__, &failure_); \
		if (rc_ != 0) \
			HvThrow(&failure_); \
	} while (0)

#endif
