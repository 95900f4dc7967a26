//! `check --against`: what a process that runs another configuration would do with this one.

use super::*;

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[listeners.edge]\nbind = \"127.0.0.1:0\"\n[routes.a]\nsni = \"a.example\"\n\
    action = \"passthrough\"\nupstream = \"127.0.0.1:1\"\n";

#[test]
fn a_file_that_is_emptied_or_gone_is_as_much_as_it_is_for_the_process_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let policy = "# nothing but this line\n";
    for place in ["running", "new"] {
        write(&format!("{place}/snigate.toml"), MAIN);
        write(&format!("{place}/conf.d/policy.toml"), policy);
    }
    let said = |new: &Path, old: &Path| {
        let arguments = [
            "check",
            "-c",
            new.to_str().unwrap(),
            "--against",
            old.to_str().unwrap(),
        ];
        text(&snigate(dir.path(), &arguments))
    };
    let relative = || {
        said(
            Path::new("new/snigate.toml"),
            Path::new("running/snigate.toml"),
        )
    };
    let absolute = || {
        said(
            &dir.path().join("new/snigate.toml"),
            &dir.path().join("running/snigate.toml"),
        )
    };
    for check in [&relative as &dyn Fn() -> String, &absolute] {
        write("new/conf.d/policy.toml", policy);
        assert!(!check().contains("would be held"), "{}", check());
        write("new/conf.d/policy.toml", " \n");
        assert!(
            check().contains("would be held: ") && check().contains("conf.d/policy.toml is empty"),
            "{}",
            check()
        );
        fs::remove_file(dir.path().join("new/conf.d/policy.toml")).unwrap();
        let gone = "new/conf.d/*.toml matches no file any more";
        assert!(
            check().contains("would be held: include: ") && check().contains(gone),
            "{}",
            check()
        );
    }
}
