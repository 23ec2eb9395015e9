//! Losses are counted, told while they happen, and can fail the run.

use crate::sandbox::{Sandbox, counts};

#[test]
fn losses_are_counted_and_can_fail_the_run() {
    let sandbox = Sandbox::for_recording();
    // Rings of one page per CPU at most, and more switches than fit.
    let script = "i=0; while [ $i -lt 3000 ]; do : $(:); i=$((i+1)); done";
    let args = [
        "record",
        "switches",
        "writes=syscall:write{ fd, count }",
        "opens=syscall:openat{ filename:ustring[510] }",
    ];
    let mut all = args.to_vec();
    all.extend(["--buffer-size", "64K", "--fail-on-loss", "-o", "t", "--", "sh", "-c", script]);
    let output = sandbox.run(&all);
    let err = String::from_utf8(output.stderr).unwrap();
    let lost: i128 =
        ["switches", "writes", "opens", "processes"].map(|e| counts(&sandbox.path("t"), e).2).iter().sum();
    assert_eq!(output.status.code(), Some(i32::from(lost > 0)), "{lost} lost\n{err}");
    assert_eq!(err.contains("ring_full"), lost > 0, "{err}");
}
