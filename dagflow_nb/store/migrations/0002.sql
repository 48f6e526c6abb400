-- Big values are stored once, by what is in them, however many nodes pass them on: `artifacts` then has
-- their hash, and no `value`; `blobs` has them in pieces, so that none of them is ever in memory twice.

alter table artifacts add column hash blob;

create table blobs (
    hash blob not null,             -- BLAKE2b of the whole value
    n integer not null,             -- which piece of it
    data blob not null,
    primary key (hash, n)
);

-- A value that is stored before the row that refers to it: kept as long as somebody drives the run.
create table blob_holds (
    hash blob not null,
    run_id text not null,
    primary key (hash, run_id)
) without rowid;
