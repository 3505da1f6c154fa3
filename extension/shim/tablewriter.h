/*
 * tablewriter.h: what the executor needs to write rows of a table, kept for the session.
 */
#ifndef HV_TABLEWRITER_H
#define HV_TABLEWRITER_H

#include "hyperion_vault.h"

#include "nodes/execnodes.h"
#include "tablescan.h"

/* what is kept of a table */
typedef struct HvWriter
{
	MemoryContext context;		/* of all of it */
	uint64		finding;		/* of the table that it was made for */
	uint64		functions;		/* number of the state of functions that it was made for */
	bool		writable;		/* not: the table takes a statement */
	bool		needs_path;		/* what is run for a row may depend on search_path */
	int			level;			/* of settings, while a row is written */
	bool		busy;			/* a row is being written, or was when a call failed */
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *row;
	TupleTableSlot *old;		/* holds a row while it is locked, else only where it is */
	int			nindexes;
	Oid		   *indexes;
} HvWriter;

extern HvWriter *HvWriterOf(HvTable *table, const HvScan *scan);
extern void HvForgetWriter(HvTable *table);
extern void HvSetPath(HvWriter *writer);
extern void HvResetPath(const HvWriter *writer);

#endif
