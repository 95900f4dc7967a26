//! What stands around the files: copies beside them, their modes, and ranges that are larger than
//! they look.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use snigate::pki::Authority;

use super::*;

#[test]
fn of_a_directory_only_what_is_named_so_counts_and_the_rest_is_named_once() {
    let site = Site::new();
    let left = [
        "ca.pem~",
        "ca.pem.bak",
        "ca.pem.dpkg-old",
        "ca.pem.rpmsave",
        "ca.pem.swp",
        "#ca.pem#",
        "README",
    ];
    for (key, file, name) in [
        ("clients.pem", "clients.pem", "ca.pem"),
        ("clients.crl", "clients.crl", "ca.crl"),
    ] {
        let config = String::from_utf8(site.read("snigate.toml")).unwrap();
        let directory = site.path(&format!("{file}.d"));
        fs::create_dir(&directory).unwrap();
        fs::copy(site.path(file), directory.join(name)).unwrap();
        // A CA that was taken out, in what an editor has left.
        let stranger = Authority::new("stranger", Validity::days(9)).unwrap();
        for left in left {
            fs::write(directory.join(left), stranger.certificate()).unwrap();
        }
        fs::write(directory.join(".hidden.pem"), stranger.certificate()).unwrap();
        site.write(
            "snigate.toml",
            config.replace(&format!("\"{key}\""), &format!("\"{file}.d\"")),
        );
        let (errors, warnings, said) = site.check();
        assert_eq!((errors, warnings), (0, 1), "{said}");
        assert!(
            said.contains("what does not count: #ca.pem#, README, ca.pem.bak")
                && said.contains("and 2 more"),
            "{said}"
        );
        assert!(!said.contains(".hidden"), "{said}");
        fs::remove_file(directory.join(name)).unwrap();
        let (errors, _, said) = site.check();
        assert_eq!(errors, 1, "{said}");
        assert!(
            said.contains("counts; there is #ca.pem#, README") && said.contains(".crl"),
            "{said}"
        );
        site.write("snigate.toml", config);
    }
}

#[test]
fn a_pattern_of_includes_leaves_out_copies_of_editors_and_package_managers() {
    let site = Site::new();
    let config = String::from_utf8(site.read("snigate.toml")).unwrap();
    fs::create_dir(site.path("routes.d")).unwrap();
    fs::rename(site.path("routes.toml"), site.path("routes.d/a.toml")).unwrap();
    site.write("snigate.toml", config.replace("routes.toml", "routes.d/*"));
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 0), "{said}");
    for copy in ["a.toml~", "a.toml.bak", "a.toml.dpkg-new", "a.toml.rpmsave"] {
        fs::copy(
            site.path("routes.d/a.toml"),
            site.path(&format!("routes.d/{copy}")),
        )
        .unwrap();
    }
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 1), "{said}");
    assert!(
        said.contains("what does not count: a.toml.bak, a.toml.dpkg-new, a.toml.rpmsave, a.toml~"),
        "{said}"
    );
}

#[test]
fn files_that_others_can_read_or_change_are_pointed_out() {
    let mode = |site: &Site, name: &str, mode: u32| {
        fs::set_permissions(site.path(name), Permissions::from_mode(mode)).unwrap();
    };
    for (file, bits, words) in [
        (
            "server-key.pem",
            0o644,
            &["can read the private key in server-key.pem (mode 0644)"][..],
        ),
        ("server-key.pem", 0o604, &["can read the private key"]),
        (
            "server-key.pem",
            0o666,
            &[
                "can read the private key",
                "can change server-key.pem (mode 0666)",
            ],
        ),
        ("server-key.pem", 0o640, &[]),
        ("server-key.pem", 0o660, &[]),
        ("server-key.pem", 0o400, &[]),
        ("server.pem", 0o646, &["can change server.pem"]),
        ("clients.pem", 0o666, &["can change clients.pem"]),
        ("clients.crl", 0o602, &["can change clients.crl"]),
        ("inside.pem", 0o666, &["can change inside.pem"]),
        ("snigate.toml", 0o666, &["can change snigate.toml"]),
        ("routes.toml", 0o666, &["can change routes.toml"]),
        ("server.pem", 0o644, &[]),
        ("snigate.toml", 0o664, &[]),
    ] {
        let site = Site::new();
        mode(&site, file, bits);
        let (errors, warnings, said) = site.check();
        assert_eq!(
            (errors, warnings),
            (0, words.len()),
            "{file} {bits:o}: {said}"
        );
        assert!(
            words.iter().all(|words| said.contains(words)),
            "{file} {bits:o}: {said}"
        );
    }
    // Whoever may write to the directory can put another file there, unless it is a directory like
    // /tmp.
    for (bits, warnings) in [(0o755, 0), (0o1777, 0), (0o777, 1)] {
        let site = Site::new();
        fs::create_dir(site.path("ca")).unwrap();
        fs::rename(site.path("clients.pem"), site.path("ca/clients.pem")).unwrap();
        let config = String::from_utf8(site.read("snigate.toml")).unwrap();
        site.write(
            "snigate.toml",
            config.replace("\"clients.pem", "\"ca/clients.pem"),
        );
        mode(&site, "ca", bits);
        let (errors, found, said) = site.check();
        assert_eq!((errors, found), (0, warnings), "{bits:o}: {said}");
    }
}

#[test]
fn bits_behind_the_prefix_of_a_range_are_pointed_out() {
    let site = Site::new();
    let config = String::from_utf8(site.read("snigate.toml")).unwrap();
    let route = String::from_utf8(site.read("routes.toml")).unwrap();
    for (range, network, address) in [
        ("10.1.2.3/8", "10.0.0.0/8", "10.1.2.3"),
        ("2001:db8::1/32", "2001:db8::/32", "2001:db8::1"),
    ] {
        site.write("routes.toml", format!("{route}from = \"{range}\"\n"));
        let (errors, _, said) = site.check();
        assert_eq!(errors, 0, "{said}");
        let expected = format!("from: {range} is the whole network {network}");
        assert!(
            said.contains(&expected) && said.contains(&format!("or `{address}` for")),
            "{said}"
        );
        site.write("routes.toml", &route);
    }
    let listener = "bind = \"127.0.0.1:0\"\nproxy_protocol.from = \"10.1.2.3/8\"";
    site.write(
        "snigate.toml",
        config.replace("bind = \"127.0.0.1:0\"", listener),
    );
    let (errors, warnings, said) = site.check();
    assert_eq!((errors, warnings), (0, 1), "{said}");
    assert!(
        said.contains("proxy_protocol.from: 10.1.2.3/8 is the whole network 10.0.0.0/8"),
        "{said}"
    );
}
