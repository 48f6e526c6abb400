-- What results depend on, so that they are found again and what has changed can be told.

-- A node's result and its key; the values are the run's own artifacts. A node that is run again replaces
-- its row, so that a key never leads to another key's values.
create table memo (
    run_id text not null,
    node_id text not null,
    made_at real,                   -- when it was computed; null: it may not be found again
    key text,
    code text,                      -- codes.code
    reason text,                    -- why it may not be found again
    outcome text,                   -- the NodeOutput without its outputs
    outputs text,                   -- JSON: output -> digest of its content
    inputs text,                    -- JSON: input -> [digest, text where it is short]
    primary key (run_id, node_id)
) without rowid;
create index memo_key on memo (key, made_at) where key is not null;

-- The parts of an action's code, by the digest of all of it.
create table codes (
    code text primary key,
    parts text not null             -- JSON: part -> [digest, text where it is short]
) without rowid;
