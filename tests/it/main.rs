//! The program as an operator runs it: real servers, real sockets, judged by what those servers show.

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod adhoc;
#[cfg(test)]
mod adhoc_bounds;
#[cfg(test)]
mod adhoc_erase;
#[cfg(test)]
mod adhoc_erasing;
#[cfg(test)]
mod adhoc_page;
#[cfg(test)]
mod adhoc_rows;
#[cfg(test)]
mod adhoc_servers;
#[cfg(test)]
mod adhoc_talk;
#[cfg(test)]
mod adhoc_wish;
#[cfg(test)]
mod again;
#[cfg(test)]
mod age;
#[cfg(test)]
mod age_bulk;
#[cfg(test)]
mod age_cost;
#[cfg(test)]
mod age_partitions;
#[cfg(test)]
mod age_rows;
#[cfg(test)]
mod age_sets;
#[cfg(test)]
mod age_waits;
#[cfg(test)]
mod backlog;
#[cfg(test)]
mod belonging;
#[cfg(test)]
mod belonging_again;
#[cfg(test)]
mod belonging_cost;
#[cfg(test)]
mod belonging_life;
#[cfg(test)]
mod belonging_races;
#[cfg(test)]
mod belonging_random;
#[cfg(test)]
mod belonging_rooms;
#[cfg(test)]
mod belonging_servers;
#[cfg(test)]
mod belonging_stays;
#[cfg(test)]
mod canary;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod companion;
#[cfg(test)]
mod companion_ejabberd;
#[cfg(test)]
mod companion_ejabberd_lists;
#[cfg(test)]
mod companion_ejabberd_safety;
#[cfg(test)]
mod companion_erase;
#[cfg(test)]
mod companion_forged;
#[cfg(test)]
mod companion_halt;
#[cfg(test)]
mod companion_lists;
#[cfg(test)]
mod companion_members;
mod companion_memory;
#[cfg(test)]
mod companion_notices;
#[cfg(test)]
mod companion_pace;
#[cfg(test)]
mod companion_protocol;
#[cfg(test)]
mod companion_protocol_reads;
#[cfg(test)]
mod companion_reads;
#[cfg(test)]
mod companion_replays;
#[cfg(test)]
mod companion_rooms;
#[cfg(test)]
mod companion_sessions;
#[cfg(test)]
mod companion_subjects;
#[cfg(test)]
mod component;
#[cfg(test)]
mod component_hostile;
#[cfg(test)]
mod component_prosody;
#[cfg(test)]
mod component_stand_in;
#[cfg(test)]
mod config;
#[cfg(test)]
mod config_secrets;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_age;
#[cfg(test)]
mod conformance_cases;
#[cfg(test)]
mod conformance_clients;
#[cfg(test)]
mod conformance_hanging;
#[cfg(test)]
mod conformance_holds;
#[cfg(test)]
mod conformance_remote;
#[cfg(test)]
mod connecting;
#[cfg(test)]
mod console;
#[cfg(test)]
mod data_about;
#[cfg(test)]
mod data_requests;
#[cfg(test)]
mod data_servers;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod ejabberd;
#[cfg(test)]
mod ejabberd_rows;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod export;
#[cfg(test)]
mod first_day;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hanging;
#[cfg(test)]
mod holds;
#[cfg(test)]
mod holds_placed;
#[cfg(test)]
mod hostile_accounts;
#[cfg(test)]
mod hostile_rows;
#[cfg(test)]
mod http;
#[cfg(test)]
mod import_law;
#[cfg(test)]
mod init;
#[cfg(test)]
mod init_servers;
#[cfg(test)]
mod install_ejabberd;
#[cfg(test)]
mod kept_rows;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod leader;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod legacy_expiry;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod marks;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod once;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod page;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod partitions;
mod partitions_daemon;
#[cfg(test)]
mod patience;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod poolers;
#[cfg(test)]
mod preview;
#[cfg(test)]
mod prose;
#[cfg(test)]
mod quick;
#[cfg(test)]
mod quotes;
#[cfg(test)]
mod quotes_servers;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod reading_cases;
#[cfg(test)]
mod reading_changes;
#[cfg(test)]
mod reading_chats;
#[cfg(test)]
mod reading_cost;
#[cfg(test)]
mod reading_everyone;
mod reading_everyone_rows;
mod reading_life;
#[cfg(test)]
mod reading_modules;
mod reading_rooms;
mod reading_rooms_servers;
#[cfg(test)]
mod reading_servers;
#[cfg(test)]
mod reading_told;
mod receipts;
#[cfg(test)]
mod reliability;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod remote_trouble;
#[cfg(test)]
mod removed;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod restored;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod scraped;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod sent;
#[cfg(test)]
mod sent_ejabberd;
#[cfg(test)]
mod sent_watch;
#[cfg(test)]
mod statement_costs;
#[cfg(test)]
mod status;
#[cfg(test)]
mod support;
#[cfg(test)]
mod supported;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod sweep_command;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod third_party;
#[cfg(test)]
mod trial;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod uploads_module;
#[cfg(test)]
mod uploads_rows;
#[cfg(test)]
mod uploads_servers;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod walks;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod way;
#[cfg(test)]
mod wishes;
