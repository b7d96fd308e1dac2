"""The cluster's shared memory in Redis: keys, Lua, records, revisions."""
