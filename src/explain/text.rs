//! An explanation as text for people.

use std::fmt;

use super::{Exchange, Explanation, Script, Stage};
use crate::packets::Shown;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.machine.as_deref().unwrap_or("no Machine");
        write!(f, "{who}, {}", self.mac)?;
        if let Some(uuid) = self.uuid {
            write!(f, ", {uuid}")?;
        }
        if let Some(by) = &self.known_by {
            write!(f, ", known by {by}")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "on Subnet {}, by the server {}",
            self.subnet, self.server
        )?;
        let profile = self.profile.as_deref().unwrap_or("no profile");
        let reason = self.reason.as_deref().unwrap_or_default();
        match self.verdict.as_str() {
            "boot" => writeln!(f, "boots {profile}, by {}", self.rule)?,
            "local" => writeln!(f, "boots its disk: {reason}")?,
            "tell" => writeln!(f, "is asked by iPXE who it is, then looked up again")?,
            _ => writeln!(f, "gets no answer at any door: {reason}")?,
        }
        writeln!(f, "\nrules")?;
        for line in &self.rules {
            let profile = line.profile.as_deref().unwrap_or("-");
            let (outcome, rule) = (&line.outcome, &line.rule);
            writeln!(f, "  {outcome:<5}  {rule:<17}  {profile}: {}", line.why)?;
        }
        for stage in &self.stages {
            write!(f, "\n{stage}")?;
        }
        if let Some(over) = &self.ipv6 {
            writeln!(f, "\nover IPv6, by the server {}", over.server)?;
        }
        for stage in self.ipv6.iter().flat_map(|over| &over.stages) {
            write!(f, "\n{stage}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nnotes")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

impl<P: Shown> fmt::Display for Stage<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.client.as_str() {
            "pxe" => "firmware, PXE",
            "http-boot" => "firmware, HTTP boot",
            "ipxe" => "iPXE",
            _ => "the system",
        };
        let architecture = self.architecture;
        let architecture = architecture.map_or_else(String::new, |it| format!(" ({it})"));
        write!(f, "{words}{architecture}: {}", self.exchange)?;
        if let Some(exchange) = &self.boot_server {
            write!(f, "  at UDP 4011: {exchange}")?;
        }
        match &self.script {
            Some(script) => write!(f, "{script}"),
            None => Ok(()),
        }
    }
}

impl<P: Shown> fmt::Display for Exchange<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.request.as_ref().map_or("a packet", |it| it.kind());
        if !self.answered {
            writeln!(f, "{asked} gets no answer: {}", self.outcome)?;
        } else {
            let outcome = self.outcome.to_ascii_uppercase();
            let next = self.next.as_deref().unwrap_or("asks anew");
            writeln!(f, "{asked} gets {outcome}; {next}")?;
        }
        if let Some(reason) = &self.reason {
            writeln!(f, "    why: {reason}")?;
        }
        if let Some(cure) = &self.cure {
            writeln!(f, "    what to do: {cure}")?;
        }
        if let (Some(reply), Some(destination)) = (&self.reply, &self.destination) {
            writeln!(f, "    {} B by {destination}", reply.bytes())?;
            for line in reply.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    script {}: {}", self.url, self.outcome)?;
        for line in self.text.iter().flat_map(|text| text.lines()) {
            writeln!(f, "    | {line}")?;
        }
        for url in &self.urls {
            writeln!(f, "    {} -> {}", url.url, url.answer)?;
        }
        Ok(())
    }
}
