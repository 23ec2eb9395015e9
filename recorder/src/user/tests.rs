//! Places of symbols against what the loader of this very process says.

use std::fs;

use super::*;

#[test]
fn every_version_of_every_function_of_the_c_library_is_where_the_loader_has_it() {
    let program = Program::open("libc.so.6").unwrap();
    let loaded = Loaded::find(program.image.build_id.as_deref().unwrap()).unwrap();
    let (mut n, mut old) = (0, 0);
    for symbol in program.image.functions().filter(|symbol| symbol.kind != Kind::Indirect) {
        // Another library that is loaded here may offer the same name.
        let (Some(_), Ok(truth)) = (&symbol.version, loaded.choice(symbol)) else { continue };
        assert_eq!(symbol.address, truth, "{}", symbol.written());
        n += 1;
        old += usize::from(!symbol.is_default);
    }
    assert!(n > 1500 && old > 10, "{n} functions, {old} of old versions");
}

#[test]
fn the_default_version_is_what_a_program_that_is_linked_now_gets() {
    let program = Program::open("libc.so.6").unwrap();
    let loaded = Loaded::find(program.image.build_id.as_deref().unwrap()).unwrap();
    for name in ["pthread_kill", "pthread_cond_wait", "fopen", "realpath", "memcpy", "write"] {
        let found = program.function(name, false).unwrap();
        let default = program.named(name).find(|symbol| symbol.is_default).unwrap();
        let truth = program.image.offset(loaded.choice(default).unwrap()).unwrap();
        assert_eq!(found.offsets, [truth], "{name}");
        assert!(found.written.starts_with(&format!("{name}@@GLIBC_")), "{}", found.written);
    }
}

#[test]
fn a_path_may_hold_colons_and_so_may_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a:b");
    fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    let path = path.to_str().unwrap();
    for name in ["main", "a::b", "c:d"] {
        assert_eq!(split(&format!("{path}:{name}")).unwrap(), (path, name));
    }
    assert_eq!(split("/no/such/file:main").unwrap(), ("/no/such/file", "main"));
    assert!(split("nothing").is_err() && split(":main").is_err());
}

#[test]
fn addresses_and_offsets_are_the_inverse_of_each_other_inside_of_code_only() {
    let part = |offset, address, size, is_code| elf::Segment { offset, address, size, is_code };
    // As lld makes them: addresses are a page ahead of offsets, and more with each part.
    let segments = vec![part(0, 0x20_0000, 0x5c4, false), part(0x5d0, 0x20_15d0, 0x130, true)];
    let image = Image { segments, ..Image::default() };
    assert_eq!(image.offset(0x20_15d0), Some(0x5d0));
    assert_eq!(image.offset(0x20_16ff), Some(0x6ff));
    assert_eq!(
        (image.offset(0x20_1700), image.offset(0x20_0000), image.offset(u64::MAX)),
        (None, None, None)
    );
    assert_eq!(image.address(0x6ff), Some(0x20_16ff));
    assert_eq!((image.address(0x5cf), image.address(0x700), image.address(u64::MAX)), (None, None, None));
}
