//! What the build script makes of a checkout, a tarball and neither.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error has failed, also in a function that it calls"
)]

#[path = "it/support/left_out.rs"]
mod left_out;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use left_out::lacks;

/// The build script as a program of its own.
fn script(dir: &Path, text: &str) -> PathBuf {
    let (source, program) = (dir.join("script.rs"), dir.join("script"));
    fs::write(&source, text).unwrap();
    let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
    let output = Command::new(compiler)
        .args(["--edition", "2024", "-o"])
        .args([&program, &source])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
}

/// The version that it gives the program which is built in `root`.
fn version(script: &Path, root: &Path, profile: &str, epoch: Option<&str>) -> String {
    let mut command = Command::new(script);
    command
        .env("CARGO_PKG_VERSION", "1.2.3")
        .env("PROFILE", profile)
        .env("CARGO_MANIFEST_DIR", root);
    command
        .env_remove("SOURCE_DATE_EPOCH")
        .envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
    let output = command.current_dir(root).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let line = lines
        .lines()
        .find_map(|line| line.strip_prefix("cargo::rustc-env=SNIGATE_VERSION="));
    line.unwrap().to_owned()
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=a", "-c", "user.email=a@a.example"])
        .args(arguments)
        .current_dir(root);
    let output = command
        .env("GIT_COMMITTER_DATE", "2026-02-28T12:00:00Z")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_version_has_the_commit_and_its_date_where_they_are_known() {
    if lacks(&["git", "cc"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs")).unwrap();
    let own = script(dir.path(), &text);
    let root = dir.path().join("project");
    fs::create_dir_all(root.join("unpacked")).unwrap();
    assert_eq!(
        version(&own, &root, "release", None),
        "1.2.3",
        "a tarball says nothing"
    );
    assert_eq!(
        version(&own, &root, "release", Some("951782400")),
        "1.2.3 (2000-02-29)"
    );

    fs::write(root.join("file"), "a").unwrap();
    git(&root, &["init", "-q"]);
    git(&root, &["add", "file"]);
    git(&root, &["commit", "-qm", "one"]);
    let commit = git(&root, &["rev-parse", "--short=12", "HEAD"]);
    assert_eq!(
        version(&own, &root, "release", None),
        format!("1.2.3 ({commit} 2026-02-28)")
    );
    assert_eq!(
        version(&own, &root, "release", Some("0")),
        format!("1.2.3 ({commit} 1970-01-01)")
    );
    assert_eq!(version(&own, &root, "debug", None), "1.2.3");
    let inside = root.join("unpacked");
    assert_eq!(
        version(&own, &inside, "release", None),
        "1.2.3",
        "somebody else's checkout is not this project's"
    );
    fs::write(root.join("file"), "b").unwrap();
    assert_eq!(
        version(&own, &root, "release", None),
        format!("1.2.3 ({commit}+ 2026-02-28)")
    );

    let info =
        "{\n  \"git\": {\n    \"sha1\": \"0123456789abcdef0123456789abcdef01234567\"\n  }\n}";
    fs::write(inside.join(".cargo_vcs_info.json"), info).unwrap();
    assert_eq!(
        version(&own, &inside, "release", None),
        "1.2.3 (0123456789ab)"
    );
    fs::remove_file(inside.join(".cargo_vcs_info.json")).unwrap();
    let exported = script(
        dir.path(),
        &text.replace("$Format:%h %cs$", "0123456 2026-11-29"),
    );
    assert_eq!(
        version(&exported, &inside, "release", None),
        "1.2.3 (0123456 2026-11-29)"
    );
}

#[test]
fn the_program_says_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_snigate"))
        .arg("--version")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.starts_with(&format!("snigate {}", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
}
