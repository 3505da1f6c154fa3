/*
 * note.h: the audit record of a change, and what tells those who follow of it.
 */
#ifndef HV_NOTE_H
#define HV_NOTE_H

#include "hyperion_vault.h"

#include "tablewrite.h"

/* the columns of vault.audit_origin */
typedef enum HvOriginColumn
{
	HV_ORIGIN_NODE,
	HV_ORIGIN_ACTOR,
	HV_ORIGIN_SESSION_ROLE,
	HV_ORIGIN_CLIENT_IP,
	HV_ORIGIN_REQUEST_ID,
	HV_ORIGIN_COLUMNS
} HvOriginColumn;

/* the tables that a change is noted in, open */
typedef struct HvNotes
{
	HvScan		numbering;
	HvTarget	changes;
	HvTarget	record;
} HvNotes;

extern int64 HvNextAuditId(void);	/* auditid.c */
extern void HvAnnounceChange(void);	/* announce.c */
extern bool HvOpenNotes(HvNotes *notes);
extern bool HvOpenRecord(HvNotes *notes);
extern void HvCloseNotes(HvNotes *notes);
extern void HvReleaseNotes(HvNotes *notes);
extern void HvNoteChanged(HvNotes *notes, const NullableDatum *origin, Datum action, Datum name, int64 version,
						  NullableDatum details);

#endif
