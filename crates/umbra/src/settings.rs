//! Layers what was said about each flag: default, configuration file,
//! environment, command line, the later one winning. Knows no meaning of any
//! flag; `commands` reads the values through [`Settings`], which collects every
//! problem instead of stopping at the first.

pub(crate) mod file;
pub(crate) mod values;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use clap::{
    ArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use crate::{
    exit::{Code, Failure},
    flags::{self, COMMANDS, CommandSpec, Flag},
};

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody: the built-in default.
    Default,
    /// The configuration file, at this line.
    File(PathBuf, usize),
    /// This environment variable.
    Env(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path, line) => write!(f, "{}:{line}", path.display()),
            Source::Env(name) => f.write_str(name),
            Source::Flag => f.write_str("command line"),
        }
    }
}

#[derive(Debug, Clone)]
struct Setting {
    values: Vec<String>,
    source: Source,
}

/// What holds for one command after layering.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The command.
    pub(crate) command: &'static CommandSpec,
    settings: BTreeMap<&'static str, Setting>,
    problems: Vec<String>,
}

/// What the command line comes to.
pub(crate) enum Parsed {
    /// Run this command.
    Run(Settings),
    /// Print this (help, version) and end with 0.
    Print(String),
}

/// Reads the command line, the environment and the configuration file it names.
/// Only a command line without a usable command fails here; everything else
/// becomes a problem of the settings, to be told together with bad values.
pub(crate) fn parse(args: Vec<String>, env: &BTreeMap<String, String>) -> Result<Parsed, Failure> {
    let (matches, problems) = match match_arguments(args)? {
        Ok(matched) => matched,
        Err(print) => return Ok(Parsed::Print(print)),
    };
    let (command, matches) = chosen(&matches);
    let mut settings = Settings { command, settings: BTreeMap::new(), problems };
    settings.take_defaults();
    settings.take_file(&matches, env);
    settings.take_env(env);
    settings.take_flags(&matches);
    Ok(Parsed::Run(settings))
}

type Matched = (ArgMatches, Vec<String>);

/// Lets clap parse. An unknown flag is noted and taken out, and the rest parsed
/// again, so that all of them are told at once.
fn match_arguments(mut args: Vec<String>) -> Result<Result<Matched, String>, Failure> {
    let mut problems = Vec::new();
    loop {
        let error = match flags::command_line().try_get_matches_from(&args) {
            Ok(matches) => return Ok(Ok((matches, problems))),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                return Ok(Err(error.render().to_string()));
            }
            ErrorKind::UnknownArgument if problems.len() < 64 => {
                let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else {
                    return Err(usage(&error));
                };
                let bare = name.split(['=', ' ']).next().unwrap_or(name).to_owned();
                let at = args.iter().position(|arg| arg.split('=').next() == Some(&bare));
                let Some(at) = at else { return Err(usage(&error)) };
                problems.push(unknown("flag", &bare, bare.trim_start_matches('-')));
                args.remove(at);
                // Its value, if it had one, would be reported as a stray argument.
                if args.get(at).is_some_and(|next| !next.starts_with('-')) {
                    args.remove(at);
                }
            }
            _ => return Err(usage(&error)),
        }
    }
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    Failure::new(Code::Usage, text.trim_start_matches("error: ").trim_end())
}

fn unknown(kind: &str, shown: &str, name: &str) -> String {
    match nearest(name) {
        Some(near) => format!("{kind} {shown} is not known: did you mean `{near}`?"),
        None => format!("{kind} {shown} is not known"),
    }
}

/// The known name that is most like this one, if any is.
fn nearest(name: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().flat_map(|c| c.all_flags()).filter(|f| !f.positional);
    names
        .map(|flag| (strsim::jaro_winkler(name, flag.name), flag.name))
        .filter(|(like, _)| *like > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn chosen(matches: &ArgMatches) -> (&'static CommandSpec, ArgMatches) {
    let (first, matches) = matches.subcommand().expect("clap requires a command");
    let (name, matches) = match matches.subcommand() {
        Some((second, below)) => (format!("{first} {second}"), below.clone()),
        None => (first.to_owned(), matches.clone()),
    };
    let spec = COMMANDS.iter().find(|c| c.name == name).expect("clap knows only our commands");
    (spec, matches)
}

/// The environment variable of a flag.
fn env_name(flag: &Flag) -> String {
    format!("UMBRA_{}", flag.name.replace('-', "_").to_uppercase())
}

impl Settings {
    fn set(&mut self, flag: &'static Flag, values: Vec<String>, source: Source) {
        self.settings.insert(flag.name, Setting { values, source });
    }

    fn take_defaults(&mut self) {
        for flag in self.command.all_flags() {
            if let Some(default) = flag.default {
                self.set(flag, vec![default.to_owned()], Source::Default);
            }
        }
    }

    fn take_file(&mut self, matches: &ArgMatches, env: &BTreeMap<String, String>) {
        let named = matches.get_one::<String>("config").or_else(|| env.get("UMBRA_CONFIG"));
        let Some(path) = named.map(PathBuf::from) else { return };
        let (entries, problems) = file::read(&path);
        self.problems.extend(problems);
        for entry in entries {
            let ours = entry.section.as_deref().is_none_or(|s| s == self.command.name);
            let flag = self.command.all_flags().find(|f| f.name == entry.key);
            if let (true, Some(flag)) = (ours, flag) {
                self.set(flag, entry.values, Source::File(path.clone(), entry.line));
            }
        }
    }

    fn take_env(&mut self, env: &BTreeMap<String, String>) {
        for flag in self.command.all_flags().filter(|flag| !flag.positional) {
            let name = env_name(flag);
            let Some(text) = env.get(&name) else { continue };
            match file::environment_value(text, flag) {
                Ok(values) => self.set(flag, values, Source::Env(name)),
                Err(problem) => self.problems.push(format!("{name}: {problem}")),
            }
        }
    }

    fn take_flags(&mut self, matches: &ArgMatches) {
        for flag in self.command.all_flags() {
            if matches.value_source(flag.name) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = match flag.value {
                None => vec![matches.get_flag(flag.name).to_string()],
                Some(_) => {
                    matches.get_many::<String>(flag.name).into_iter().flatten().cloned().collect()
                }
            };
            self.set(flag, values, Source::Flag);
        }
    }

    /// The text of a flag, if anyone said anything.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(|s| s.values.last()).map(String::as_str)
    }

    /// All values of a repeatable flag.
    pub(crate) fn texts(&self, name: &str) -> &[String] {
        self.settings.get(name).map_or(&[], |s| &s.values)
    }

    /// Whether a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// Whether somebody said it, rather than nobody.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.settings.get(name).is_some_and(|s| s.source != Source::Default)
    }

    /// Whether it was said on the command line.
    pub(crate) fn is_flag(&self, name: &str) -> bool {
        self.settings.get(name).is_some_and(|s| s.source == Source::Flag)
    }

    /// Adds a problem about this flag, with where its value came from.
    pub(crate) fn problem(&mut self, name: &str, what: impl fmt::Display) {
        let place = match self.settings.get(name).map(|s| &s.source) {
            None | Some(Source::Flag | Source::Default) => String::new(),
            Some(source) => format!(" ({source})"),
        };
        self.problems.push(format!("--{name}{place}: {what}"));
    }

    /// A problem that is not about one flag.
    pub(crate) fn trouble(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// The value of a flag, read by `parser`; a bad one becomes a problem.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        parser: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name)?.to_owned();
        match parser(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(name, format!("`{text}`: {what}"));
                None
            }
        }
    }

    /// The same for each value of a repeatable flag; bad ones become problems.
    pub(crate) fn read_all<T>(
        &mut self,
        name: &str,
        parser: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut read = Vec::new();
        for text in self.texts(name).to_vec() {
            match parser(&text) {
                Ok(value) => read.push(value),
                Err(what) => self.problem(name, format!("`{text}`: {what}")),
            }
        }
        read
    }

    /// The value of a flag that must be given.
    pub(crate) fn require<T>(
        &mut self,
        name: &str,
        parser: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.text(name).is_none() {
            self.problem(name, "is required");
        }
        self.read(name, parser)
    }

    /// All problems.
    pub(crate) fn into_problems(self) -> Vec<String> {
        self.problems
    }

    /// Fails with all problems, if there are any.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.problems.as_slice() {
            [] => Ok(()),
            [one] => Err(Failure::new(Code::Usage, one.as_str())),
            many => {
                let mut message = format!("{} problems:", many.len());
                for problem in many {
                    message.push_str("\n  ");
                    message.push_str(problem);
                }
                Err(Failure::new(Code::Usage, message))
            }
        }
    }

    /// The settings as a configuration file, with the source of each as a comment
    /// and secrets masked.
    pub(crate) fn as_yaml(&self) -> String {
        let mut text = format!("# umbra {}\n", self.command.name);
        for flag in self.command.all_flags() {
            let Some(setting) = self.settings.get(flag.name) else { continue };
            if flag.positional || matches!(flag.name, "config" | "print-config") {
                continue;
            }
            let masked = |value: &String| {
                let shown = match flag.name {
                    "target" => values::mask_target(value),
                    _ if flag.secret => values::mask(value),
                    _ => value.clone(),
                };
                serde_json::Value::from(shown).to_string()
            };
            let list = setting.values.iter().map(masked).collect::<Vec<_>>().join(", ");
            let list = if flag.repeat { format!("[{list}]") } else { list };
            text.push_str(&format!("{}: {list}  # {}\n", flag.name, setting.source));
        }
        text
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
