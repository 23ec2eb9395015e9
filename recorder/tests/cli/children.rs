//! System calls that a process leaves without having entered them while it was looked at: the child of the one that made
//! the call, and the COMMAND that was waiting.

use crate::sandbox::{Sandbox, Table, counts, record};

#[test]
fn of_a_command_that_waited_for_its_start_nothing_is_lost() {
    let sandbox = Sandbox::for_recording();
    record(&sandbox, 0, &["reads=syscall:read{ fd, retval }", "--fail-on-loss"], "cat /dev/null");
    let (seen, recorded, lost) = counts(&sandbox.path("t"), "reads");
    assert!(recorded > 0 && seen == recorded && lost == 0, "{seen} {recorded} {lost}");
}

#[test]
fn a_child_that_leaves_the_call_which_made_it_is_no_event_and_no_loss() {
    let sandbox = Sandbox::for_recording();
    let events = ["forks=syscall:clone{ retval }", "vforks=syscall:vfork{ retval }"];
    // A subshell is made by clone, a program by clone or by vfork, as the shell likes.
    let script = "for i in 1 2 3 4 5 6 7 8 9; do (:); mkdir d$i; done; exit 0";
    record(&sandbox, 0, &[&events[..], &["--fail-on-loss"]].concat(), script);
    let trace = sandbox.path("t");
    let (forks, vforks) = (Table::read(&trace, "forks"), Table::read(&trace, "vforks"));
    assert_eq!(forks.len() + vforks.len(), 18);
    for (event, table) in [("forks", forks), ("vforks", vforks)] {
        let rows = table.len() as i128;
        assert_eq!(counts(&trace, event), (rows, rows, 0), "{event}");
        assert!(table.integers("retval").iter().all(|child| child.is_some_and(|pid| pid > 0)), "{event}");
    }
}
