//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::server;

pub(crate) const USAGE: &str = "usage:
  scalesocket-bench run [--server PATH] [--only NAME]... [--runs N] [--quick]
                        [--json FILE] [--write DOCUMENT] [--check]
  scalesocket-bench check --json FILE
  scalesocket-bench soak [--server PATH] [--only NAME]... [--minutes N] [--seed N] [--quick]
                         [--json FILE] [--write DOCUMENT] [--break WHAT]";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) server: PathBuf,
    pub(crate) runs: Option<usize>,
    pub(crate) only: Vec<String>,
    /// Everything of ours for about a second, to see that it works; the figures are worth nothing.
    pub(crate) quick: bool,
    /// Whether a bar that is missed is an error.
    pub(crate) check: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) write: Option<PathBuf>,
    /// How long the mixed soak takes.
    pub(crate) minutes: Option<f64>,
    /// Of its chances; another one each time unless it is said.
    pub(crate) seed: Option<u64>,
    /// What it is to do wrong itself, to show that this is seen.
    pub(crate) breaks: Option<String>,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let beside = server::this_program()?.with_file_name("scalesocket");
        let mut options = Options {
            server: beside,
            runs: None,
            only: Vec::new(),
            quick: false,
            check: false,
            json: None,
            write: None,
            minutes: None,
            seed: None,
            breaks: None,
        };
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let mut value = || args.next().context(USAGE);
            match flag.as_str() {
                "--server" => options.server = value()?.into(),
                "--runs" => options.runs = Some(value()?.parse().context(USAGE)?),
                "--only" => options.only.push(value()?.clone()),
                "--quick" => options.quick = true,
                "--check" => options.check = true,
                "--json" => options.json = Some(value()?.into()),
                "--write" => options.write = Some(value()?.into()),
                "--minutes" => options.minutes = Some(value()?.parse().context(USAGE)?),
                "--seed" => options.seed = Some(value()?.parse().context(USAGE)?),
                "--break" => options.breaks = Some(value()?.clone()),
                _ => bail!(USAGE),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Whether the figures are all there are to be had, and worth something.
    pub(crate) fn is_whole(&self) -> bool {
        self.only.is_empty() && !self.quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn a_part_of_the_figures_is_not_the_whole() {
        assert!(parse("--runs 3 --check").unwrap().is_whole());
        assert!(!parse("--only echo").unwrap().is_whole());
        assert!(!parse("--quick").unwrap().is_whole());
        let some = parse("--only echo --only flood").unwrap();
        assert!(some.wants("flood") && !some.wants("idle"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["--fast", "--runs", "--runs many", "echo"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
