//! Keys of `[upstreams]` that say nothing, or two things.

use crate::cli::{LISTENER, snigate, text, with_config};
use crate::support::proxy::passthrough;

#[test]
fn what_makes_no_sense_is_refused_with_what_to_write() {
    for (keys, message, help) in [
        (
            "servers = [{ weight = 2 }]",
            "address is missing",
            "add `address = ",
        ),
        (
            "servers = [{ address = \"10.0.0.1\" }]",
            "servers: address: an address ends in a port",
            "as in `192.0.2.1:443` or `[2001:db8::1]:443`",
        ),
        (
            "servers = [{ address = \"10.0.0.1:1\", wieght = 2 }]",
            "unknown key `wieght`",
            "did you mean",
        ),
        (
            "servers = [7]",
            "this is a number, and a text or a table is due",
            "write `servers = \"192.0.2.1:7\"`",
        ),
        (
            "servers = \"10.0.0.1\"",
            "servers: an address ends in a port",
            "write `\"10.0.0.1:8443\"`, with the port",
        ),
        (
            "servers = [{ address = \"10.0.0.1:1\", weight = 0 }]",
            "every server has weight 0",
            "a weight of 1 or more",
        ),
        (
            "servers = [{ address = \"10.0.0.1:1\", weight = 1001 }]",
            "weight: 1001 is not a whole number from 0 to 1000",
            "leave it out",
        ),
        (
            "servers = [{ address = \"10.0.0.1:1\", max_connections = 0 }]",
            "max_connections: 0 is not",
            "leave it out",
        ),
        (
            "servers = [{ address = \"10.0.0.1:1\", backup = true }]",
            "every server is a backup",
            "remove `backup`",
        ),
        (
            "servers = [\"10.0.0.1:1\", \"10.0.0.1:1\"]",
            "10.0.0.1:1 stands there twice",
            "`weight = 2`",
        ),
        (
            "servers = [{ address = \"10.0.0.1:1\", weight = 2 }]\nbalance = \"first\"",
            "weight has no effect with balance = \"first\"",
            "another `balance`",
        ),
        (
            "servers = \"10.0.0.1:1\"\nbalance = \"fastest\"",
            "unknown value `fastest`",
            "least_connections",
        ),
        (
            "servers = \"10.0.0.1:1\"\nejection = \"on\"",
            "\"on\" is neither \"off\" nor a table",
            "ejection = \"off\"",
        ),
        (
            "servers = \"10.0.0.1:1\"\nejection = {}",
            "50 percent of 1 are none",
            "a larger `max_percent`",
        ),
        (
            "servers = \"10.0.0.1:1\"\nejection.max_percent = 101",
            "101 is not a whole number from 1 to 100",
            "leave it out to have the default",
        ),
        (
            "servers = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\nejection = { time = \"2m\", max_time = \"1m\" }",
            "max_time is less than ejection.time",
            "the longer one",
        ),
        (
            "servers = \"10.0.0.1:1\"\nhealth = \"yes\"",
            "this is a text, and a table, true or false is due",
            "write `health = true`",
        ),
        (
            "servers = \"10.0.0.1:1\"\nhealth.kind = \"http\"",
            "unknown value `http`",
            "write `kind = \"tcp\"`",
        ),
        (
            "servers = \"10.0.0.1:1\"\nhealth.kind = \"tls\"",
            "nothing says whom to believe",
            "write `kind = \"tcp\"`",
        ),
        (
            "servers = \"10.0.0.1:1\"\nhealth.interval = \"0s\"",
            "\"0s\" is not a duration above zero, of at most ten years",
            "write `500ms`, `5s`",
        ),
        (
            "servers = \"10.0.0.1:1\"\nhealth.interval = \"1ms\"",
            "\"1ms\" is shorter than 10ms",
            "write `10ms` or more",
        ),
        (
            "servers = \"10.0.0.1:1\"\nhealth.fall = 0",
            "health.fall: 0 is not a whole number",
            "leave it out to have the default",
        ),
    ] {
        let dir = with_config(&format!(
            "{LISTENER}{}[upstreams.u]\n{keys}\n",
            passthrough("a.example", "u")
        ));
        let output = snigate(dir.path(), &["check"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{keys}: {said}");
        assert!(
            said.contains(message) && said.contains(help),
            "{keys}: neither {message:?} and {help:?} in\n{said}"
        );
    }
    let twice = "sni = \"a.example\"\naction = \"passthrough\"\nupstream = [\"10.0.0.1:1\", \"10.0.0.1:1\"]\n";
    let dir = with_config(&format!("{LISTENER}[routes.a]\n{twice}"));
    assert!(
        text(&snigate(dir.path(), &["check"])).contains("upstream: 10.0.0.1:1 stands there twice")
    );
}

#[test]
fn explain_says_how_servers_are_chosen_and_watched() {
    let dir = with_config(&format!(
        "{LISTENER}{}[upstreams.u]\nservers = [\"10.0.0.1:1\", {{ address = \"10.0.0.2:1\", weight = 3, backup = true }}]\n\
         balance = \"least_connections\"\nhealth = true\n",
        passthrough("a.example", "u")
    ));
    let said = text(&snigate(dir.path(), &["explain", "--sni", "a.example"]));
    for expected in [
        "10.0.0.1:1, 10.0.0.2:1 (backup, weight 3) by the number of connections",
        "after 3 failures in a row left out for 1s, up to 1m",
        "checked by a connection every 5s",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}
