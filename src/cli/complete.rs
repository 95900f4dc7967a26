//! `snigate completions` and `snigate man`: what a package puts beside the program.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::print;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The shell that it is for.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn completions(options: &Options, mut command: Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "snigate", &mut script);
    print(&String::from_utf8(script).context("cannot write the script")?)?;
    Ok(ExitCode::SUCCESS)
}

/// One page: a command's own options stand below its name.
pub(super) fn man(mut command: Command) -> anyhow::Result<ExitCode> {
    command.build();
    let mut page = Vec::new();
    let main = clap_mangen::Man::new(command.clone())
        .section("8")
        .manual("snigate manual");
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        section(inner, inner.get_name(), &mut page)?;
    }
    main.render_extra_section(&mut page)?;
    print(&String::from_utf8(page).context("cannot write the page")?)?;
    Ok(ExitCode::SUCCESS)
}

fn section(command: &Command, name: &str, page: &mut Vec<u8>) -> anyhow::Result<()> {
    page.extend(format!(".SH \"snigate {name}\"\n").bytes());
    let man = clap_mangen::Man::new(command.clone());
    let mut body = Vec::new();
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    // As parts of this command's section.
    page.extend(
        String::from_utf8(body)
            .context("cannot write the page")?
            .replace(".SH ", ".SS ")
            .bytes(),
    );
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        section(inner, &format!("{name} {}", inner.get_name()), page)?;
    }
    Ok(())
}
