//! Changes of files, and what is seen of them.

use std::os::unix::fs::symlink;

use super::*;

fn seen(path: &Path) -> Files {
    let mut files = Files::default();
    let _ = files.read(path);
    files
}

#[test]
fn a_rewrite_a_rename_over_and_a_removal_are_seen_and_a_touch_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "one").unwrap();
    let mut files = seen(&path);
    assert_eq!(files.changed(), None);
    fs::write(&path, "one").unwrap();
    assert_eq!(files.changed(), None, "the same content");
    fs::write(&path, "two").unwrap();
    assert_eq!(files.changed(), Some(path.as_path()));
    let mut files = seen(&path);
    fs::write(dir.path().join("b"), "six").unwrap();
    fs::rename(dir.path().join("b"), &path).unwrap();
    assert_eq!(files.changed(), Some(path.as_path()));
    let mut files = seen(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(files.changed(), Some(path.as_path()));
    let mut files = seen(&path);
    assert_eq!(files.changed(), None, "still missing");
    fs::write(&path, "").unwrap();
    assert_eq!(files.changed(), Some(path.as_path()), "it appeared");
}

#[test]
fn a_link_that_is_swapped_twice_is_seen_twice() {
    let dir = tempfile::tempdir().unwrap();
    for version in ["1", "2", "3"] {
        fs::create_dir(dir.path().join(version)).unwrap();
        fs::write(dir.path().join(version).join("a"), version).unwrap();
    }
    let link = dir.path().join("..data");
    symlink("1", &link).unwrap();
    let path = dir.path().join("..data/a");
    for version in ["2", "3"] {
        let mut files = seen(&path);
        symlink(version, dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), &link).unwrap();
        assert_eq!(files.changed(), Some(path.as_path()), "{version}");
    }
}

#[test]
fn a_new_file_in_a_directory_is_seen_and_a_hidden_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b"), "").unwrap();
    let mut files = Files::default();
    assert_eq!(files.list(dir.path()).unwrap(), [dir.path().join("b")]);
    fs::write(dir.path().join(".swp"), "").unwrap();
    assert_eq!(files.changed(), None);
    fs::write(dir.path().join("a"), "").unwrap();
    assert_eq!(files.changed(), Some(dir.path()));
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    assert_eq!(
        Files::default()
            .read(Path::new("/dev/zero"))
            .unwrap_err()
            .kind(),
        io::ErrorKind::InvalidInput
    );
}
