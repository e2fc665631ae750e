//! Jobs for people: aligned tables.

use std::collections::BTreeMap;

use umbra_replay::jobs::{Job, State};

/// Rows of cells, each column as wide as its widest cell.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|cell| (*cell).to_owned()).collect()])
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    fn print(&self, text: &mut String) {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.0 {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

/// A line for each target of each job.
pub(super) fn summary(jobs: &[Job]) -> String {
    let mut table = Table::new(&[
        "JOB", "STATE", "TARGET", "PACE", "SENT", "ANSWERED", "FAILED", "SKIPPED", "LAG", "BEHIND",
        "MEMBERS",
    ]);
    for job in jobs {
        for (name, target) in &job.targets {
            let members = job.members.iter().filter(|member| member.target == *name).count();
            let sums = &target.sums;
            table.row([
                job.name.clone(),
                state(job.state).to_owned(),
                name.clone(),
                job.pace.clone(),
                sums.sent.to_string(),
                sums.answered.to_string(),
                total(&sums.failed).to_string(),
                total(&sums.skipped).to_string(),
                target.lag.to_string(),
                seconds(target.lag_s),
                members.to_string(),
            ]);
        }
    }
    let mut text = String::new();
    table.print(&mut text);
    text
}

/// Everything else about them.
pub(super) fn details(jobs: &[Job]) -> String {
    let mut text = String::new();
    for job in jobs {
        plan(job, &mut text);
        members(job, &mut text);
        partitions(job, &mut text);
        counts(job, &mut text);
    }
    text
}

fn plan(job: &Job, text: &mut String) {
    let plan = &job.plan;
    let bound = |bound: &Option<String>, none: &str| bound.clone().unwrap_or(none.to_owned());
    text.push_str(&format!("\nplanned {}, run {}, pass {}\n", plan.made, job.run, plan.pass));
    match plan.mode {
        "live" => text.push_str("live: what is recorded from then on\n"),
        _ => text.push_str(&format!(
            "window from {} to {}\n",
            bound(&plan.from, "the oldest record"),
            bound(&plan.to, "what was in the log then")
        )),
    }
    for (name, values) in &plan.settings {
        text.push_str(&format!("  {name}: {}\n", values.join(" ")));
    }
}

fn members(job: &Job, text: &mut String) {
    if job.members.is_empty() {
        return;
    }
    let mut table = Table::new(&["TARGET", "MEMBER", "INSTANCE", "HOST", "PARTITIONS"]);
    for member in &job.members {
        let held: Vec<String> = member.partitions.iter().map(u32::to_string).collect();
        table.row([
            member.target.clone(),
            member.id.clone(),
            member.instance.clone().unwrap_or_else(|| "-".to_owned()),
            member.host.clone(),
            if held.is_empty() { "-".to_owned() } else { held.join(",") },
        ]);
    }
    text.push('\n');
    table.print(text);
}

fn partitions(job: &Job, text: &mut String) {
    let mut table =
        Table::new(&["TARGET", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "DONE"]);
    for row in &job.partitions {
        table.row([
            row.target.clone(),
            row.partition.to_string(),
            row.committed.to_string(),
            row.end.to_string(),
            row.lag.to_string(),
            seconds(row.lag_s),
            if row.done { "yes" } else { "" }.to_owned(),
        ]);
    }
    text.push('\n');
    table.print(text);
}

fn counts(job: &Job, text: &mut String) {
    for (name, target) in &job.targets {
        let sums = &target.sums;
        text.push_str(&format!(
            "\n{name}: read {}  selected {}  sent {}  answered {}",
            sums.read, sums.selected, sums.sent, sums.answered
        ));
        for (title, counts) in
            [("failed", &sums.failed), ("skipped", &sums.skipped), ("status", &sums.status)]
        {
            if !counts.is_empty() {
                let list: String = counts.iter().map(|(name, n)| format!(" {name} {n}")).collect();
                text.push_str(&format!("  {title}{list}"));
            }
        }
        text.push('\n');
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Paused => "paused",
        State::Done => "done",
        State::Abandoned => "abandoned",
        State::Cancelled => "cancelled",
    }
}

fn total(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().sum()
}

/// A time for people, in at most two units.
fn seconds(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "?".to_owned() };
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, seconds};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG", "C"]);
        table.row(["wider", "x", "ä"].map(str::to_owned));
        let mut text = String::new();
        table.print(&mut text);
        assert_eq!(text, "A      LONG  C\nwider  x     ä\n");
    }

    #[test]
    fn times_are_short() {
        let shown = [0.04, 59.94, 61.0, 3_599.0, 3_700.0, 200_000.0];
        let shown = shown.map(|one| seconds(Some(one)));
        assert_eq!(shown, ["0.0s", "59.9s", "1m01s", "59m59s", "1h01m", "2d07h"]);
        assert_eq!(seconds(None), "?");
    }
}
