//! The kernel side of the recorder: one generic program body, specialised by a frozen plan, for every kind of
//! probe.
//!
//! ```text
//! PLAN (.rodata) + context --body--> filter -> ring record: header, columns
//!                                           or (aggregate) key, sums -> TABLES[key]
//! ENTRY_PLAN     + context --entry-> STASH[thread, depth]: arguments, columns, time  --(return probe)--> body
//! ```
//! The recorder loads one copy of this object per probe. Everything that depends on the plan alone is a constant to
//! the verifier, which follows and keeps only the code that the plan uses. Values that come from the kernel are
//! handled without branches as far as possible, so that the verifier has few paths to follow.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod aggregate;
mod body;
mod calls;
mod context;
mod entry;
mod follow;
mod headers;
mod interrupt;
mod iterate;
mod maps;
mod nested;
mod objects;
mod plan;
mod predicate;
mod slot;
mod state;

use core::ffi::c_void;

macro_rules! programs {
    ($($name:ident in $section:literal runs $body:path;)*) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(link_section = $section)]
        extern "C" fn $name(context: *mut c_void) -> u32 {
            $body(context);
            0
        }
    )*};
}

// The loader makes of each section name that of the kind of program that the probe needs, because a copy per kind
// would be linked and loaded each time.
programs! {
    on_event in "ktape_event_program" runs body::run;
    on_nested in "ktape_nested_program" runs nested::run::<1>;
    on_third in "ktape_third_program" runs nested::run::<2>;
    on_each in "ktape_each_program" runs body::run_each;
    on_each_nested in "ktape_each_nested_program" runs nested::run_each::<1>;
    on_each_third in "ktape_each_third_program" runs nested::run_each::<2>;
    on_entry in "ktape_entry_program" runs entry::run;
    on_exit in "ktape_exit_program" runs entry::exit;
    on_fork in "ktape_fork_program" runs follow::fork;
    on_free in "ktape_free_program" runs follow::free;
    on_task in "ktape_iterator_program" runs iterate::run;
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing in this program panics; the linker removes this.
    unsafe { core::hint::unreachable_unchecked() }
}
