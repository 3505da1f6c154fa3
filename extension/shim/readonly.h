/*
 * readonly.h: what cannot be done where nothing can be written.
 */
#ifndef HV_READONLY_H
#define HV_READONLY_H

extern void HvRequireWritable(void);

#endif
