
-- The tables of what happened: changes, passes of the supervisor, and the audit.

-- The id of an audit record is a base, plus its transaction's id times 2^22, plus its number in the transaction. So ids
-- follow the order in which transactions began to write, and no record is added below the id of the oldest running
-- transaction: a reader that goes on from an id misses no record that commits late. No other role can set the numbers, as
-- pg_write_all_data could those of a sequence, which row security does not cover. So changes have such ids, too.
CREATE FUNCTION vault.next_audit_id() RETURNS bigint
AS 'MODULE_PATHNAME', 'hv_next_audit_id' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION vault.next_audit_id() IS 'the id of the next audit record of this transaction';

-- What changed, for those who follow (GET /v1/events). A transaction that commits late may hold an earlier id, so
-- readers go by transaction: only rows of transactions older than every running one are shown, in (xid, id) order.
-- Not dumped: transaction ids mean nothing in another cluster.
CREATE TABLE vault.changes (
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    id bigint NOT NULL DEFAULT vault.next_audit_id(),
    at timestamptz NOT NULL,
    action text NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (xid, id)
);
CREATE INDEX changes_at_idx ON vault.changes (at);

-- One row: what the supervisor did last, and how many secrets it has counted. Not dumped: another cluster has other
-- transaction ids.
CREATE TABLE vault.supervisor_passes (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT supervisor_passes_pkey PRIMARY KEY
        CONSTRAINT supervisor_passes_only_row CHECK (only_row),
    last_pass_at timestamptz NOT NULL,
    enqueued bigint NOT NULL,
    expired bigint NOT NULL,
    -- How many secrets there were by the changes of all transactions before one, null if they were not counted yet.
    counted_to xid8,
    counted_at timestamptz,
    secrets bigint,
    automatic bigint
);

-- One row, made with the first record: where ids begin, and where records go. A new timeline of the log raises the base
-- far enough that no id which a lost primary gave out comes again. Not dumped: where a dump is restored, the base is
-- the highest restored id.
CREATE TABLE vault.audit_numbering (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT audit_numbering_pkey PRIMARY KEY
        CONSTRAINT audit_numbering_only_row CHECK (only_row),
    timeline bigint NOT NULL,
    base bigint NOT NULL,
    part smallint NOT NULL DEFAULT 0,  -- the part of the log that new records go to
    keep interval  -- what vault.prune_audit() was last called with; null: never called
);

-- The log has twelve parts, which are always there: a reader, a dump and an insert never depend on a part that a person must
-- have made in time. vault.start_audit_part() moves on to an empty part now and then, and vault.prune_audit() empties a part
-- whose records are all old enough.
CREATE TABLE vault.audit_log (
    id bigint NOT NULL DEFAULT vault.next_audit_id(),
    at timestamptz NOT NULL,
    node text NOT NULL,
    actor text NOT NULL,
    session_role text,
    client_ip inet,
    action text NOT NULL,
    secret_name text,
    version bigint,
    outcome text NOT NULL,
    code text NOT NULL DEFAULT '',
    request_id text,
    journal uuid,  -- null: written in the transaction of the change
    sequence bigint,
    details jsonb,  -- what a change of settings or grants replaced, and by what; never a value
    accessor uuid,  -- of the token; null: there was none
    method text,  -- how the token was obtained: 'token', or the mount of the login
    part smallint NOT NULL DEFAULT 0,
    CONSTRAINT audit_log_record_fits CHECK (vault.record_fits(action, outcome, journal, sequence))
) PARTITION BY LIST (part);
DO $$
BEGIN
    FOR part IN 0..11 LOOP
        EXECUTE pg_catalog.format('CREATE TABLE vault.audit_log_%s PARTITION OF vault.audit_log '
                                  '(CONSTRAINT audit_log_%s_pkey PRIMARY KEY (id)) FOR VALUES IN (%s)', part, part, part);
    END LOOP;
END
$$;
CREATE INDEX audit_log_at_idx ON vault.audit_log (at, id);
CREATE INDEX audit_log_secret_name_idx ON vault.audit_log (secret_name COLLATE "C", at);

-- The ids of changes that may be sent again when their answer is lost. Such a change adds its id in its own transaction, so
-- it cannot be made twice. The supervisor deletes ids that are older than any repetition. Not dumped: no client repeats a
-- change where a dump is restored.
CREATE TABLE vault.sent_changes (
    change uuid CONSTRAINT sent_changes_pkey PRIMARY KEY,
    at timestamptz NOT NULL
);
CREATE INDEX sent_changes_at_idx ON vault.sent_changes (at);

-- How far each node's journal has arrived. In one transaction with the records themselves, so a dump, a standby and a
-- restored backup always hold both or neither.
CREATE TABLE vault.audit_journals (
    journal uuid CONSTRAINT audit_journals_pkey PRIMARY KEY,
    node text NOT NULL,
    last_sequence bigint NOT NULL CONSTRAINT audit_journals_last_sequence_range CHECK (last_sequence >= 0),
    created_at timestamptz NOT NULL,
    shipped_at timestamptz NOT NULL,
    last_at timestamptz  -- of the record with that number; null: there is none
);
