/*
 * position.h: where the commit of a change ends in the log.
 */
#ifndef HV_POSITION_H
#define HV_POSITION_H

extern void HvPositionInit(void);
extern void HvReportPosition(void);

#endif
