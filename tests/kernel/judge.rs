//! A place's recordings in, verdicts out: each test compares one recording with the truth about its workload.

mod endings;
mod identity;
mod kmem;
mod listens;
mod losses;
mod oom;
mod packets;
mod probes;
mod processes;
mod ways;

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::place::Recorded;
use crate::trace::{Trace, int};

type Test = fn(&Recorded) -> Result<()>;

/// The tests of what `Scene::Workloads` records.
pub const TESTS: &[(&str, Test)] = &[
    ("a_thousand_listens_over_three_namespaces", listens::thousand),
    ("ss_sees_the_same_listeners", listens::as_ss_sees_them),
    ("every_listener_stops_once", listens::stops),
    ("rare_ways_to_listen", listens::edges),
    ("listens_through_a_kretprobe", listens::by_kretprobe),
    ("listens_through_a_tracepoint", listens::by_tracepoint),
    ("listeners_from_before_are_a_snapshot", listens::snapshot),
    ("every_mkdir_with_its_path_and_result", processes::mkdirs),
    ("every_join_with_before_and_after", processes::joins),
    ("directories_asked_for_by_every_way_are_recorded_or_their_way_is_named", ways::mkdirs),
    ("every_way_is_observed_where_functions_can_be_probed", ways::all),
    ("files_opened_by_32_bit_calls_are_in_a_users_event", ways::opens),
    ("numbers_of_32_bit_calls_keep_their_sign", ways::seeks),
    ("joins_by_32_bit_calls_are_recorded_or_their_way_is_named", ways::joins),
    ("switches_as_proc_status_counts_them", processes::switches),
    ("the_command_is_in_processes", processes::command),
    ("packets_as_proc_snmp_counts_them", packets::packets),
    ("bursts_are_where_they_were_sent", packets::bursts),
    ("upper_headers_are_found_or_it_is_said_why_not", packets::headers),
    ("held_files_are_outstanding_and_no_others", kmem::held_files),
    ("what_a_workload_freed_elsewhere_is_not_outstanding", kmem::own),
    ("freed_rules_are_not_outstanding", kmem::rules),
    ("a_bulk_free_of_hundreds_is_recorded_to_the_last_item", kmem::bulk),
    ("stacks_of_allocations_begin_with_the_allocator", kmem::stacks),
    ("an_inline_tracepoint_is_a_typed_table", probes::tracepoint),
    ("an_inline_function_is_a_typed_table", probes::function),
    ("an_inline_kprobe_is_a_typed_table", probes::kprobe),
    ("a_pointer_that_carries_an_error_number_is_negative", probes::errors),
    ("several_events_in_one_trace", processes::several),
    ("seen_is_recorded_and_lost_everywhere", losses::balance),
    ("nothing_is_lost_where_rings_are_large", losses::none_lost),
    ("a_flood_is_counted_to_the_last_event", losses::flood),
    ("programs_inside_programs_are_counted_or_unknown", losses::nested),
    ("calls_that_a_kretprobe_has_no_room_for_are_counted_or_unknown", losses::crowded),
    ("a_killed_recorder_leaves_all_but_the_last_second", losses::killed),
];

/// The tests of what `Scene::Endings` records.
pub const ENDINGS: &[(&str, Test)] = &[
    ("many_kprobes_end_soon_by_sigterm", endings::by_sigterm),
    ("many_kprobes_end_soon_by_sigint_while_busy", endings::by_sigint_while_busy),
    ("many_kprobes_end_soon_by_the_death_of_the_command", endings::by_the_death_of_the_command),
    ("many_kprobes_are_gone_after_kill_9", endings::by_kill_9),
    ("cgroups_that_lived_for_a_moment_have_names", identity::cgroups),
    ("a_step_of_the_wall_clock_is_told", identity::clock),
    ("a_shortage_of_memory_makes_a_snapshot_that_names_the_victim", oom::snapshot),
];

/// What only guests are sure to allow: probes of functions, and recording all processes.
pub const GUEST_ONLY: &[&str] = &[
    "rare_ways_to_listen",
    "every_way_is_observed_where_functions_can_be_probed",
    "listens_through_a_kretprobe",
    "listens_through_a_tracepoint",
    "freed_rules_are_not_outstanding",
    "a_bulk_free_of_hundreds_is_recorded_to_the_last_item",
    "an_inline_function_is_a_typed_table",
    "a_pointer_that_carries_an_error_number_is_negative",
    "an_inline_kprobe_is_a_typed_table",
    "programs_inside_programs_are_counted_or_unknown",
    "calls_that_a_kretprobe_has_no_room_for_are_counted_or_unknown",
];

impl Recorded {
    /// The trace of a case, if its recorder ended well.
    fn trace(&self, case: &str) -> Result<Trace> {
        self.ended(case, 0)
    }

    /// The trace of a case whose recorder ended with this code.
    fn ended(&self, case: &str, expected: i32) -> Result<Trace> {
        let said = fs::read_to_string(self.dir.join(format!("{case}.log"))).unwrap_or_default();
        let code = fs::read_to_string(self.dir.join(format!("{case}.code")))
            .with_context(|| format!("{case} was not recorded; its log: {said}"))?;
        let code = code.trim();
        ensure!(code == expected.to_string(), "the recorder of {case} ended with {code}: {said}");
        Trace::open(self.dir.join(format!("{case}.trace"))).with_context(|| said)
    }

    fn truth<T: DeserializeOwned>(&self, case: &str) -> Result<T> {
        xtask::workload::truth(&self.dir.join(format!("{case}.json")))
    }
}

/// The sum of a column.
fn sum(rows: &[crate::trace::Row], column: &str) -> Result<i64> {
    rows.iter().map(|row| int(row, column)).sum()
}

/// Both lists hold the same, in whatever order; says what differs.
fn same<T: Ord + std::fmt::Debug>(what: &str, mut found: Vec<T>, mut expected: Vec<T>) -> Result<()> {
    found.sort();
    expected.sort();
    let missing: Vec<_> = expected.iter().filter(|item| found.binary_search(item).is_err()).take(3).collect();
    let extra: Vec<_> = found.iter().filter(|item| expected.binary_search(item).is_err()).take(3).collect();
    ensure!(
        found == expected,
        "{what}: {} recorded, {} expected; missing: {missing:?}; not expected: {extra:?}",
        found.len(),
        expected.len()
    );
    Ok(())
}
