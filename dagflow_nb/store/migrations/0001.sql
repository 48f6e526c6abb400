-- The first schema. Times are epoch seconds. What is long comes last in a row, so that the short
-- columns are read without it. Tables that are read and written by run have the run first in their key.

create table runs (
    run_id text primary key,
    dag_name text not null,
    status text not null default 'pending',
    created_at real not null,
    started_at real,
    finished_at real,
    active_seconds real not null default 0,
    nodes integer not null default 0,
    completed integer not null default 0,
    failed integer not null default 0,
    skipped integer not null default 0,
    cached integer not null default 0,
    cancelled integer not null default 0,
    attempts integer not null default 0,
    tokens real not null default 0,
    cost real not null default 0,
    parent_run_id text,
    owner text,                     -- who drives it (owners.owner); null: nobody
    error_node text,
    version text,                   -- of the package that made it
    error text,
    inputs text,
    result text,
    config text,
    settings text,
    code text,                      -- fingerprints of the actions' code
    extra text
);
create index runs_created on runs (created_at);
create index runs_dag on runs (dag_name, created_at);
create index runs_owned on runs (owner) where owner is not null;

create table owners (
    owner text primary key,
    host text not null,
    pid integer not null,
    process_started text not null,
    opened_at real not null,
    beat_at real not null
) without rowid;

create table node_runs (
    run_id text not null,
    node_id text not null,
    action text,
    status text not null,
    attempts integer not null default 0,
    ready_at real,
    started_at real,
    finished_at real,
    error text,
    reason text,
    dependencies text,              -- JSON list of ids
    added_by text,
    parent text,
    kind text,
    tokens real,
    cost real,
    returned text,
    position integer,
    primary key (run_id, node_id)
) without rowid;

create table attempts (
    run_id text not null,
    node_id text not null,
    attempt integer not null,
    action text,
    status text not null,
    started_at real,
    finished_at real,
    error text,
    traceback text,
    primary key (run_id, node_id, attempt)
) without rowid;

create table events (
    run_id text not null,
    seq integer not null,
    occurred_at real not null,
    kind text not null,
    node_id text,
    data text,
    primary key (run_id, seq)
) without rowid;

create table journal (
    run_id text not null,
    n integer not null,
    at real not null,
    kind text not null,
    data text,
    asked text,
    primary key (run_id, n)
) without rowid;

create table logs (
    id integer primary key,
    run_id text not null,
    node_id text,
    attempt integer,
    occurred_at real not null,
    level text,
    stream text,
    message text
);
create index logs_run on logs (run_id);

create table artifacts (
    run_id text not null,
    namespace text not null,
    key text not null,
    codec text not null,
    size_bytes integer not null default 0,
    reason text,
    updated_at real not null,
    value blob,
    primary key (run_id, namespace, key)
) without rowid;

create table execution_trees (
    run_id text primary key,
    dag_name text not null,
    created_at real not null,
    tree text not null
);
create index execution_trees_dag on execution_trees (dag_name, created_at);

create table snapshots (
    id integer primary key,
    run_id text,
    dag_name text not null,
    kind text not null,
    taken_at real not null,
    data text not null
);
create index snapshots_dag on snapshots (dag_name, kind, taken_at);

create table execution_state (
    run_id text primary key,
    dag_name text not null,
    state text not null,
    updated_at real not null,
    data text
) without rowid;

-- execution_state follows runs.status by itself: a run that can go on is 'active', one that has not
-- begun is 'pending', one that has ended has no row.
create trigger runs_state_insert after insert on runs
when new.status in ('pending', 'running', 'paused', 'interrupted')
begin
    insert or replace into execution_state (run_id, dag_name, state, updated_at, data)
    values (new.run_id, new.dag_name, case new.status when 'pending' then 'pending' else 'active' end,
            new.created_at, '{"status": "' || new.status || '"}');
end;

create trigger runs_state_update after update of status on runs
begin
    delete from execution_state where run_id = new.run_id;
    insert into execution_state (run_id, dag_name, state, updated_at, data)
    select new.run_id, new.dag_name, case new.status when 'pending' then 'pending' else 'active' end,
           (julianday('now') - 2440587.5) * 86400.0, '{"status": "' || new.status || '"}'
    where new.status in ('pending', 'running', 'paused', 'interrupted');
end;

create trigger runs_state_delete after delete on runs
begin
    delete from execution_state where run_id = old.run_id;
end;
