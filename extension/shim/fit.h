/*
 * fit.h: whether values are within limits; null always is.
 */
#ifndef HV_FIT_H
#define HV_FIT_H

#include "hyperion_vault.h"

#include "utils/jsonb.h"

/* as the functions in SQL that check settings have them */
#define HV_MAX_DESCRIPTION_LEN	1024
#define HV_MAX_TAGS_LEN		49152
#define HV_MAX_TAGS			64
#define HV_MAX_TAG_NAME_LEN	128
#define HV_MAX_TAG_LEN		512
#define HV_MAX_POLICY_LEN	4096
#define HV_MIN_SCHEDULE_LEN	9
#define HV_MAX_SCHEDULE_LEN	255
#define HV_MAX_SECS			315360000	/* of an interval, a grace and the life of a version */
#define HV_MIN_WINDOW_SECS	60
#define HV_MAX_WINDOW_SECS	31536000
#define HV_MAX_KEPT_VERSIONS	100

extern bool HvIsWithin(NullableDatum number, int64 least, int64 most);
extern bool HvFitsLength(NullableDatum value, Size least, Size most);
extern bool HvIsOneOf(NullableDatum value, const char *const *texts, int n);
extern bool HvFitsObject(NullableDatum value, Size most);
extern bool HvFitsTags(NullableDatum tags);

#endif
