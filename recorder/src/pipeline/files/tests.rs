//! What files of a trace promise, and directories that are reached in another way.

use super::*;

#[test]
fn a_file_does_not_take_a_name_that_is_taken_but_may_replace_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    fs::write(dir.join("0"), "old").unwrap();
    let mut file = TempFile::create(&dir, "new").unwrap();
    let error = file.reveal("0").unwrap_err();
    assert!(format!("{error:#}").contains("File exists"), "{error:#}");
    assert_eq!(fs::read_to_string(dir.join("0")).unwrap(), "old");
    file.replace("0").unwrap();
    assert_eq!(fs::read_to_string(dir.join("0")).unwrap(), "");
}

#[test]
fn a_file_whose_fsync_has_failed_once_is_never_revealed() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    let mut file = TempFile::create(&dir, "new").unwrap();
    let (_reader, writer) = io::pipe().unwrap();
    // The fsync of a pipe fails, and the next one does not, as on a disk that failed.
    let good = std::mem::replace(&mut file.file, File::from(OwnedFd::from(writer)));
    assert!(file.sync().is_err());
    file.file = good;
    assert!(file.sync().is_err() && file.reveal("0").is_err() && file.replace("0").is_err());
    drop(file);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn without_openat2_a_directory_is_opened_and_a_link_is_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    fs::create_dir_all(place.join("real/inner")).unwrap();
    std::os::unix::fs::symlink("real", place.join("link")).unwrap();
    let open = |name: &str| open_by_parts(&place.join(name), OFlag::O_RDONLY | OFlag::O_DIRECTORY);
    let inode = |dir: File| dir.metadata().unwrap().ino();
    let inner = File::open(place.join("real/inner")).unwrap();
    assert_eq!(inode(open("real/inner").unwrap().into()), inode(inner));
    for way in ["link", "link/inner"] {
        assert_eq!(open(way).unwrap_err(), Errno::ELOOP, "{way}");
    }
    assert_eq!(open("none").unwrap_err(), Errno::ENOENT);
}

#[test]
fn a_look_whether_a_recorder_lives_keeps_nobody_from_the_trace() {
    let temp = tempfile::tempdir().unwrap();
    let look = File::open(temp.path()).unwrap();
    look.lock_shared().unwrap();
    std::thread::scope(|scope| {
        let locked = scope.spawn(|| lock(temp.path()).is_ok());
        std::thread::sleep(2 * LOCK_EVERY);
        look.unlock().unwrap();
        assert!(locked.join().unwrap());
    });
    let _held = lock(temp.path()).unwrap();
    assert!(lock(temp.path()).is_err());
}
