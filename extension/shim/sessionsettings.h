/*
 * sessionsettings.h: whether the settings that a worker's session began with are still what is stored.
 */
#ifndef HV_SESSIONSETTINGS_H
#define HV_SESSIONSETTINGS_H

extern bool HvSessionSettingsChanged(void);

#endif
