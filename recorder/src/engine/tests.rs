use std::fs;
use std::path::{Path, PathBuf};

use schemas::wire::{NONE, Plan, Slot, op, src, stash};
use sha2::{Digest, Sha256};

use super::check;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_committed_object_was_made_of_these_sources() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut named = Vec::new();
    for line in include_str!("ktape.bpf.stamp").lines() {
        let (expected, what) = line.split_once(' ').unwrap();
        if expected.len() == 64 {
            let bytes = fs::read(root().join(what)).unwrap_or_default();
            let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{what} has changed: run `cargo xtask ebpf` and commit the object");
            named.push(what.to_owned());
        } else {
            let locked = format!("name = \"{what}\"\nversion = \"{expected}\"");
            assert!(lock.contains(&locked), "{what} is not {expected} any more: run `cargo xtask ebpf`");
        }
    }
    for entry in fs::read_dir(root().join("recorder-ebpf/src")).unwrap() {
        let file = format!("recorder-ebpf/src/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(named.contains(&file), "{file} is new: run `cargo xtask ebpf` and commit the object");
    }
}

fn plan_with(slot: Slot) -> Plan {
    let mut plan = Plan::EMPTY;
    plan.record_size = 64;
    plan.slots[0] = slot;
    plan
}

#[test]
fn a_plan_that_cannot_be_is_refused_before_the_verifier_sees_it() {
    let good = Slot { src: src::ARG, op: op::LOAD, size: 4, dst: 32, width: 4, ..Slot::END };
    assert!(check::check(&plan_with(good)).is_ok());
    for bad in [
        Slot { src: src::TEMP, index: 16, ..good },
        Slot { index: 12, ..good },
        Slot { size: 3, ..good },
        Slot { width: 3, ..good },
        Slot { dst: 61, ..good },
        Slot { dst: 31, ..good },
        Slot { derefs: 5, ..good },
        Slot { bit: 32, ..good },
        Slot { save: 16, ..good },
        Slot { op: 99, ..good },
        Slot { src: 99, ..good },
    ] {
        assert!(check::check(&plan_with(bad)).is_err(), "{bad:?}");
    }
    let mut plan = plan_with(good);
    plan.record_size = 68;
    assert!(check::check(&plan).is_err());
    plan = plan_with(good);
    plan.each_count = 3;
    assert!(check::check(&plan).is_err());
    plan.each_base = NONE;
    assert!(check::check(&plan).is_err());
}

#[test]
fn the_entry_program_keeps_what_the_return_program_uses() {
    let mut main = plan_with(Slot { src: src::ARG, index: 2, ..Slot::END });
    main.slots[1] = Slot { src: src::RET, ..Slot::END };
    let entry = plan_with(Slot { src: src::ARG, index: 0, ..Slot::END });
    assert_eq!(check::inputs(&main), 1 << 2 | 1 << 12);
    main.use_stash = stash::TIME;
    assert_eq!(check::entry_inputs(&entry, &main), 1 << 0, "the return program has its arguments itself");
    main.use_stash = stash::ALL;
    assert_eq!(check::entry_inputs(&entry, &main), 1 << 2 | 1 << 0);
}
