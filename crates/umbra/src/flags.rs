//! What the user can type. Each command and flag is defined once, in the tables
//! of the modules below; help, completions, the configuration file, environment
//! variables and `umbra check` are all derived from them. Values are only
//! collected here, as text: `settings` layers them and `commands` makes them
//! ready to use.

mod capture;
mod compare;
mod jobs;
mod keys;
mod log;
mod replay;
mod report;

use clap::{Arg, ArgAction, Command};

/// One flag (or positional argument) of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Long name without dashes; also the key in the configuration file and,
    /// as `UMBRA_NAME`, the environment variable.
    pub(crate) name: &'static str,
    /// What stands for the value in help; `None` makes it a switch.
    pub(crate) value: Option<&'static str>,
    /// May be given several times.
    pub(crate) repeat: bool,
    /// Positional, not `--name`.
    pub(crate) positional: bool,
    /// Taken when nobody says anything.
    pub(crate) default: Option<&'static str>,
    /// Never shown by `--print-config`.
    pub(crate) secret: bool,
    /// For people: one or two sentences, unit and consequence included.
    pub(crate) help: &'static str,
    /// Heading in help.
    pub(crate) heading: &'static str,
}

impl Flag {
    /// A flag that takes one value.
    pub(crate) const fn value(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value: Some(value),
            repeat: false,
            positional: false,
            default: None,
            secret: false,
            help,
            heading: "Options",
        }
    }

    /// A flag without value.
    pub(crate) const fn switch(name: &'static str, help: &'static str) -> Self {
        let mut flag = Self::value(name, "", help);
        flag.value = None;
        flag
    }

    /// A positional argument.
    pub(crate) const fn argument(
        name: &'static str,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        let mut flag = Self::value(name, value, help);
        flag.positional = true;
        flag
    }

    /// May be repeated.
    pub(crate) const fn many(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Has a default.
    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Is printed masked.
    pub(crate) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Stands under this heading in help.
    pub(crate) const fn under(mut self, heading: &'static str) -> Self {
        self.heading = heading;
        self
    }
}

/// One command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandSpec {
    /// Its name, words separated by a space for a command below another.
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) about: &'static str,
    /// After the flags in `--help`: examples.
    pub(crate) examples: &'static str,
    /// Its own flags, in the order of help.
    pub(crate) flags: &'static [&'static [Flag]],
}

impl CommandSpec {
    /// All flags, the ones every command has included.
    pub(crate) fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().copied().flatten().chain(COMMON)
    }
}

/// Flags of every command.
const COMMON: &[Flag] = &[
    Flag::value(
        "config",
        "FILE",
        "Read settings from this YAML file; flags and UMBRA_* win over it",
    )
    .under("Common"),
    Flag::switch(
        "print-config",
        "Print the settings that would be used, with where each came from, and exit",
    )
    .under("Common"),
    Flag::value("output", "text|json", "Form of the result on stdout").or("text").under("Common"),
    Flag::value(
        "log-level",
        "LEVEL",
        "Least level of log lines on stderr: error, warn, info, debug, trace",
    )
    .or("info")
    .under("Common"),
    Flag::value(
        "log-format",
        "auto|text|json",
        "Form of log lines on stderr; auto: text on a terminal",
    )
    .or("auto")
    .under("Common"),
];

/// Commands that have others below them.
const GROUPS: [(&str, &str); 2] = [
    ("log", "What is in a log: span, counts, hosts, rates; records as text or JSON lines"),
    ("keys", "Identities and data keys of sealed values: new, list, erase"),
];

/// All commands, in the order of help.
pub(crate) const COMMANDS: &[CommandSpec] = &[
    capture::CAPTURE,
    replay::REPLAY,
    replay::MIRROR,
    log::INFO,
    log::CAT,
    log::TAIL,
    log::AUDIT,
    jobs::JOBS,
    compare::AGAIN,
    compare::EXPLAIN,
    report::REPORT,
    keys::NEW,
    keys::LIST,
    keys::ERASE,
    log::CHECK,
    log::COMPLETIONS,
    log::VERSION,
];

/// The whole command line, for clap.
pub(crate) fn command_line() -> Command {
    let mut root = Command::new("umbra")
        .about("Record production HTTP once, shadow it anywhere, any time, at any rate")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100);
    let mut groups: Vec<Command> = GROUPS
        .iter()
        .map(|(name, about)| {
            let group = Command::new(*name).about(*about);
            group.subcommand_required(true).arg_required_else_help(true)
        })
        .collect();
    for spec in COMMANDS {
        match spec.name.split_once(' ') {
            None => root = root.subcommand(command(spec, spec.name)),
            Some((group, name)) => {
                let group = groups.iter_mut().find(|one| one.get_name() == group);
                let group = group.expect("each command's group is in the table");
                *group = std::mem::take(group).subcommand(command(spec, name));
            }
        }
    }
    groups.into_iter().fold(root, Command::subcommand)
}

fn command(spec: &CommandSpec, name: &'static str) -> Command {
    let mut command = Command::new(name).about(spec.about).after_help(spec.examples);
    for flag in spec.all_flags() {
        command = command.arg(argument(flag));
    }
    command
}

fn argument(flag: &'static Flag) -> Arg {
    let mut help = flag.help.to_owned();
    if let Some(default) = flag.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg = Arg::new(flag.name).help(help).help_heading(flag.heading);
    let arg = if flag.positional { arg } else { arg.long(flag.name) };
    let arg = match flag.name {
        "output" => arg.short('o'),
        "from" => arg.visible_alias("since"),
        "to" => arg.visible_alias("until"),
        _ => arg,
    };
    match flag.value {
        None => arg.action(ArgAction::SetTrue),
        Some(value) => {
            let arg = arg.value_name(value).allow_hyphen_values(!flag.positional);
            match flag.repeat {
                true => arg.action(ArgAction::Append),
                false => arg.action(ArgAction::Set).overrides_with(flag.name),
            }
        }
    }
}

/// The flag of that name in any command.
pub(crate) fn known(name: &str) -> bool {
    COMMANDS.iter().any(|command| command.all_flags().any(|f| f.name == name && !f.positional))
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
