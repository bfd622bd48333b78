//! The stage: a compiled world, its leases, its timeline and its clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille::api::Severity;
use reveille::artifact::Want;
use reveille::artifact::plan::{AllStuck, Stuck};
use reveille::boot::{Architecture, MacAddress, Transport};
use reveille::clock::Millis;
use reveille::dhcp::decide::{Arrival, Decision, Ignored, Outcome, decide, tells};
use reveille::dhcp::destination::Destination;
use reveille::dhcp::lookout::Wire;
use reveille::dhcp::reply::{Reply, ReplyKind};
use reveille::dhcp::request::Request;
use reveille::http::phone_home;
use reveille::lease::{
    Authority, LeaseState, LeaseTable, LeaseTable6, Record as _, Shares, SilentReason,
};
use reveille::packets::Datagram;
use reveille::script::BootKey;
use reveille::snapshot::{Acquaintances as _, HttpsDoor, ObjectName, Settings, Snapshot, compile};
use reveille::standalone::read_text;
use reveille::timeline::{
    Boot, BootEvent, Fact, Introductions, Known, NextStep, Note, PhoneHome, Purpose, Timeline,
    Transfer,
};

use super::book::{Call, ReplyWant, Role, Signer, Standing, Step, TransferSeen, World};
use super::diff::{Facts, compare, same};
use super::options::{self, encode, show};
use super::packet::{Packet, build, take_apart};

/// When scenarios begin.
const START: Millis = Millis::from_secs(1_760_000_000);
const PURPOSES: [Purpose; 10] = [
    Purpose::Config,
    Purpose::Loader,
    Purpose::Script,
    Purpose::LocalScript,
    Purpose::Menu,
    Purpose::Kernel,
    Purpose::Initrd,
    Purpose::Efi,
    Purpose::Iso,
    Purpose::Other,
];

pub(crate) struct Stage {
    pub(crate) snapshot: Snapshot,
    pub(crate) server: Ipv4Addr,
    pub(super) server6: Ipv6Addr,
    pub(super) subnet: String,
    table: LeaseTable,
    pub(super) table6: LeaseTable6,
    timeline: Timeline,
    pub(crate) told: Introductions,
    now: Millis,
    pub(super) authority: Authority,
    wire: Wire,
    /// DHCP packets of the last step.
    pub(crate) packets: Vec<Datagram>,
}

// === impl Stage ===

impl Stage {
    /// Makes the world as the standalone service does.
    pub(crate) fn set(world: &World) -> Result<Self, String> {
        let loaded = read_text(Path::new("manifests.yaml"), &world.manifests);
        let errors = loaded
            .check()
            .into_iter()
            .filter(|found| found.severity == Severity::Error);
        let errors: Vec<_> = errors
            .map(|found| (found.reason.to_owned(), found.line(&loaded.files)))
            .collect();
        let mut reasons: Vec<&String> = errors.iter().map(|(reason, _)| reason).collect();
        let mut wanted: Vec<&String> = world.mistakes.iter().collect();
        reasons.sort();
        wanted.sort();
        if reasons != wanted {
            let lines: Vec<_> = errors
                .iter()
                .map(|(reason, line)| format!("    {reason} {line}"))
                .collect();
            return Err(format!(
                "    the manifests have other mistakes than said:\n{}\n",
                lines.join("\n")
            ));
        }
        let loaders = loaders(world)?;
        let new = loaders.keys().filter(|_| !world.old_loaders);
        let mut settings = Settings {
            http_port: world.http_port,
            https: world.https.map(|signer| HttpsDoor {
                port: 443,
                trust: (signer == Signer::Own).then_some([0x11; 32]),
            }),
            autoexec: new.copied().collect(),
            loaders,
            own_addresses: world.own.iter().copied().chain([world.server]).collect(),
            ..Settings::default()
        };
        let mut snapshot = compile(1, &loaded.inputs, &settings).snapshot;
        if !world.stuck.is_empty() {
            settings.stuck = Arc::new(stuck(world, &snapshot)?);
            snapshot = compile(1, &loaded.inputs, &settings).snapshot;
        }
        Ok(Self {
            snapshot,
            server: world.server,
            server6: world.server6,
            subnet: world.subnet.clone(),
            table: LeaseTable::new(),
            table6: LeaseTable6::new(),
            timeline: Timeline::default(),
            told: Introductions::with_key(BootKey::new([1; 32])),
            now: START,
            authority: world.authority.map(authority).unwrap_or_default(),
            wire: Wire::default(),
            packets: Vec::new(),
        })
    }

    /// One step: what comes in, and whether what was wanted came of it.
    pub(crate) fn play(&mut self, step: &Step) -> Result<(), String> {
        if let Some(at) = &step.at {
            let secs = at.strip_suffix('s').and_then(|secs| secs.parse().ok());
            let now =
                START.plus_secs(secs.ok_or_else(|| format!("`{at}` is no time such as 70s"))?);
            if now < self.now {
                return Err(format!("{at} is before the step before"));
            }
            self.now = now;
        }
        if let Some(found) = &step.wire {
            self.wire = match found.as_str() {
                "looking" => Wire::Looking,
                "alone" => Wire::Alone,
                server => Wire::Shared(server.parse().map_err(|_| "no wire is so")?),
            };
        }
        if let Some(standing) = step.authority {
            self.authority = authority(standing);
        }
        let comes = [
            step.dhcp.is_some(),
            step.dhcp6.is_some(),
            step.raw.is_some(),
            step.tftp.is_some(),
            step.http.is_some(),
            step.file.is_some(),
            step.transfer.is_some(),
            step.calls.is_some(),
            step.sweep,
        ];
        if comes.iter().filter(|comes| **comes).count() != 1 {
            return Err("    one thing must come in".to_owned());
        }
        if let Some(ask) = &step.dhcp {
            self.dhcp(&build(ask)?, step)?;
        } else if let Some(ask) = &step.dhcp6 {
            self.dhcp6(ask, step)?;
        } else if let Some(raw) = &step.raw {
            self.dhcp(&options::unhex(raw)?, step)?;
        } else if let Some(seen) = &step.transfer {
            self.transfer(seen)?;
        } else if let Some(call) = &step.calls {
            self.call(call, step)?;
        } else if step.sweep {
            self.timeline.sweep(self.now);
            let changes = self.table.expire(self.now, usize::MAX);
            self.table.apply_all(&changes);
            let changes = self.table6.expire(self.now, usize::MAX);
            self.table6.apply_all(&changes);
        } else {
            self.door(step)?;
        }
        if let Some(want) = &step.leases {
            self.check_leases(want)?;
        }
        if let Some(want) = &step.leases6 {
            self.check_leases6(want)?;
        }
        if let Some(want) = &step.boots {
            same("boots", &want.join("; "), &self.boots().join("; "))?;
        }
        match &step.trouble {
            Some(want) => same("trouble", &want.join("; "), &self.trouble().join("; ")),
            None => Ok(()),
        }
    }

    pub(crate) const fn now(&self) -> Millis {
        self.now
    }

    /// The machine that has `address`, as the engine's index has it.
    pub(crate) fn tenant(&self, address: IpAddr) -> Option<MacAddress> {
        let (mac, state) = match address {
            IpAddr::V4(address) => {
                let lease = self.table.get(address)?;
                (lease.mac, lease.state)
            }
            IpAddr::V6(address) => {
                let lease = self.table6.get(address)?;
                (lease.mac, lease.state)
            }
        };
        mac.filter(|_| state == LeaseState::Bound)
    }

    /// Our address as a caller at `from` reaches it.
    pub(crate) const fn server_for(&self, from: IpAddr) -> IpAddr {
        match from {
            IpAddr::V4(_) => IpAddr::V4(self.server),
            IpAddr::V6(_) => IpAddr::V6(self.server6),
        }
    }

    fn dhcp(&mut self, bytes: &[u8], step: &Step) -> Result<(), String> {
        let request = match Request::parse(bytes) {
            Ok(request) => request,
            Err(malformed) => return silence(step, Ignored::Malformed(malformed)),
        };
        let arrival = Arrival {
            now: self.now,
            subnet: &self.subnet,
            server: self.server,
            boot_port: step.boot_port,
            wire: self.wire,
            unicast: !request.ciaddr.is_unspecified() && !step.rebinding,
            from: step
                .from
                .unwrap_or_else(|| SocketAddrV4::new(request.giaddr, 67)),
            loader_sent: step.loader_sent,
            told: &self.told,
            authority: self.authority,
        };
        let decision = decide(&self.snapshot, &self.table, arrival, &request);
        let own = step.boot_port.map_or(67, |_| 4011);
        let (from, to) = (arrival.from, SocketAddrV4::new(self.server, own));
        self.note(from, to, bytes);
        if let Some(mac) = request.client.mac
            && let Some(told) = tells(&request, &decision)
        {
            self.told.insert(mac, told, self.now);
        }
        self.table.apply_all(&decision.changes);
        if let Some(want) = &step.probes {
            let probe = decision.probe.as_ref();
            let got = probe.map_or_else(|| "none".to_owned(), |(at, _)| at.to_string());
            same("probe", want, &got)?;
        }
        if let Some(want) = &step.neighbour {
            let heard = decision.neighbour;
            let got = heard.map_or_else(|| "none".to_owned(), |(mac, at)| format!("{mac} {at}"));
            same("neighbour", want, &got)?;
        }
        match (&decision.outcome, &step.reply) {
            (Outcome::Ignored(ignored), _) => {
                self.tell_silence(&request, &decision, *ignored);
                silence(step, *ignored)
            }
            (Outcome::Reply(reply), None) => {
                let wanted = step
                    .ignored
                    .as_deref()
                    .unwrap_or("`reply` or `ignored` in the step");
                same("answer", wanted, reply.kind.as_str())
            }
            (Outcome::Reply(reply), Some(want)) => {
                self.tell(&request, &decision, reply);
                let packet = reply.encode(&request);
                let to = match reply.destination {
                    Destination::Relay(to) | Destination::Asker(to) => to,
                    Destination::Client(address) | Destination::Hardware { address, .. } => {
                        SocketAddrV4::new(address, 68)
                    }
                    Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
                };
                self.note(SocketAddrV4::new(self.server, own), to, &packet);
                let got = take_apart(&packet, bytes)?;
                if want.at_most.is_some_and(|most| packet.len() > most) {
                    return Err(format!("    the packet has {} bytes", packet.len()));
                }
                check_reply(want, &got, reply.destination)
            }
        }
    }

    /// Keeps a packet for those who read what was said.
    pub(super) fn note(
        &mut self,
        from: impl Into<SocketAddr>,
        to: impl Into<SocketAddr>,
        bytes: &[u8],
    ) {
        let (from, to) = (from.into(), to.into());
        self.packets.push(Datagram {
            at: self.now,
            from: (from.ip(), from.port()),
            to: (to.ip(), to.port()),
            payload: bytes.to_vec(),
        });
    }

    /// Tells the timeline of a reply, as the engine does.
    fn tell(&mut self, request: &Request, decision: &Decision, reply: &Reply) {
        let Some(mac) = request.client.mac else {
            return;
        };
        let own = Some(reply.yiaddr).filter(|address| !address.is_unspecified());
        let (client, address) = (request.client, own.unwrap_or(request.ciaddr));
        let next = decision.boot.as_ref().map(|boot| boot.next.clone());
        let fact = match reply.kind {
            ReplyKind::Offer => Fact::Offer {
                client,
                address: address.into(),
            },
            ReplyKind::Ack | ReplyKind::Bootp => Fact::Ack {
                client,
                address: address.into(),
                next: next.unwrap_or(NextStep::Nothing),
            },
            ReplyKind::Nak
            | ReplyKind::LeaseUnassigned
            | ReplyKind::LeaseUnknown
            | ReplyKind::LeaseActive => return,
        };
        let known = self.known(mac, address);
        let at = self.now;
        self.observe(&BootEvent { mac, at, fact }, &known);
    }

    /// Tells the timeline of a machine that chose another server, as the engine
    /// does.
    fn tell_silence(&mut self, request: &Request, decision: &Decision, ignored: Ignored) {
        let client = request.client;
        let Some(mac) = client.mac else { return };
        let (fact, known) = match (ignored, &decision.boot) {
            (Ignored::Lease(SilentReason::ChoseAnotherServer), _) => {
                (Fact::ChoseAnother { client }, Known::default())
            }
            (Ignored::LeasedElsewhere, Some(boot)) => {
                let address = request.requested().unwrap_or(Ipv4Addr::UNSPECIFIED);
                let next = boot.next.clone();
                let fact = Fact::Ack {
                    client,
                    address: address.into(),
                    next,
                };
                (fact, self.known(mac, address))
            }
            _ => return,
        };
        let at = self.now;
        self.observe(&BootEvent { mac, at, fact }, &known);
    }

    /// What the manifests say of a machine, as the keeper asks them.
    pub(super) fn known(&self, mac: MacAddress, address: impl Into<IpAddr>) -> Known {
        let Some(subnet) = self.snapshot.subnet_of(address) else {
            return Known::default();
        };
        Known::of(&self.snapshot.plan(subnet, &self.told.identity(mac)))
    }

    fn transfer(&mut self, seen: &TransferSeen) -> Result<(), String> {
        let purpose = PURPOSES
            .into_iter()
            .find(|known| known.as_str() == seen.purpose);
        let purpose = purpose.ok_or_else(|| format!("no purpose is called {}", seen.purpose))?;
        let size = seen.size.unwrap_or(1000);
        let fact = if seen.begins {
            Fact::TransferStarted { purpose }
        } else if let Some(reason) = &seen.refused {
            Fact::Refused {
                purpose,
                name: seen.name.clone(),
                reason: reason.clone().leak(),
            }
        } else {
            Fact::Transfer(Transfer {
                purpose,
                name: seen.name.clone(),
                transport: Transport::Http,
                bytes: seen.sent.unwrap_or(size),
                size,
                duration: Duration::from_millis(seen.millis),
                complete: seen.aborted.is_none() && seen.sent.is_none(),
                aborted: seen.aborted.clone().map(|reason| &*reason.leak()),
            })
        };
        let event = BootEvent {
            mac: seen.mac.parse().map_err(|_| "no MAC address")?,
            at: self.now,
            fact,
        };
        // A script that was sent tells who the machine is now, as for the keeper.
        let address = self
            .timeline
            .running(event.mac)
            .and_then(|boot| boot.address);
        let tells = [Purpose::Script, Purpose::Menu, Purpose::LocalScript];
        let known = address.filter(|_| tells.contains(&purpose));
        let known = known.and_then(|address| {
            let subnet = self.snapshot.subnet_of(address)?;
            let plan = self.snapshot.plan(subnet, &self.told.identity(event.mac));
            Some(Known::of_script(&self.snapshot, &plan, &seen.name))
        });
        self.observe(&event, &known.unwrap_or_default());
        Ok(())
    }

    /// Folds an event in, as the keeper does.
    pub(super) fn observe(&mut self, event: &BootEvent, known: &Known) {
        for note in self.timeline.observe(event, known) {
            match note {
                Note::Started(boot) => self.told.began(boot.id),
                Note::Ended(boot) | Note::PhonedHome(boot) => self.spend(&boot),
                Note::Stage(..) | Note::Trouble(..) => {}
            }
        }
    }

    /// Has a machine that boots once boot its disk from now on, as the keeper and
    /// the press do.
    fn spend(&mut self, boot: &Boot) {
        let names = boot.namespace.as_deref().zip(boot.machine.as_deref());
        if let (Some((namespace, name)), Some(generation)) = (names, boot.consumed) {
            let name = ObjectName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            Arc::make_mut(&mut self.snapshot.spent).insert(name, generation);
        }
    }

    /// The call of a system that was booted.
    fn call(&mut self, call: &Call, step: &Step) -> Result<(), String> {
        let mac: MacAddress = call.mac.parse().map_err(|_| "no MAC address")?;
        let boots = self.timeline.boots();
        let named = call
            .boot
            .map(|number| boots.get(number - 1).map(|boot| boot.id));
        let key = self.told.key().ok_or("no key")?;
        let token = match (&call.token, named) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(id)) => key.token(id.ok_or("no such boot")?, ""),
            (None, None) => self.told.boot_token(mac),
        };
        let path = format!("/reveille/machines/{}/phone-home", mac.hyphenated());
        let query = token.map(|token| format!("token={token}"));
        let said = phone_home::boot_of(key, &path, query.as_deref())
            .and_then(|boot| Ok((boot, phone_home::said(call.body.as_bytes())?)));
        let (boot, (state, message)) = match said {
            Ok(said) => said,
            Err(refused) => {
                let want = step.refused.as_deref().unwrap_or("204");
                let got = format!("{} {}", refused.status(), refused.as_str());
                return same("answer", want, &got);
            }
        };
        same("answer", step.refused.as_deref().unwrap_or("204"), "204")?;
        let address = call.from.unwrap_or(self.server);
        let known = self.known(mac, address);
        let fact = Fact::PhonedHome(PhoneHome {
            boot,
            address: address.into(),
            state,
            message,
        });
        let at = self.now;
        self.observe(&BootEvent { mac, at, fact }, &known);
        Ok(())
    }

    fn check_leases(&self, want: &BTreeMap<Ipv4Addr, String>) -> Result<(), String> {
        let line = |address: Ipv4Addr, text: String| (format!("lease {address}"), text);
        let got: Facts = self
            .table
            .iter()
            .map(|lease| {
                let state = lease.state_at(self.now).as_str();
                line(lease.address, format!("{state} {}", lease.key))
            })
            .collect();
        let want: Facts = want
            .iter()
            .map(|(address, text)| line(*address, text.clone()))
            .collect();
        compare(&want, &got, true)
    }

    fn boots(&self) -> Vec<String> {
        let boots = self.timeline.boots();
        boots
            .iter()
            .map(|boot| {
                let stages: Vec<_> = boot
                    .stages
                    .iter()
                    .map(|record| record.stage.as_str())
                    .collect();
                let machine = boot.machine.as_deref().map(str::to_owned);
                let entry = boot.entry.as_ref().map(|entry| format!(" by {entry}"));
                let stalled = boot
                    .stalled_at
                    .map(|stage| format!(" at {}", stage.as_str()));
                format!(
                    "{} {}{} {}{}: {}",
                    machine.unwrap_or_else(|| boot.mac.to_string()),
                    boot.profile.as_deref().unwrap_or("none"),
                    entry.unwrap_or_default(),
                    boot.result.as_str(),
                    stalled.unwrap_or_default(),
                    stages.join(" ")
                )
            })
            .collect()
    }

    /// What went wrong in the last boot.
    fn trouble(&self) -> Vec<String> {
        let boots = self.timeline.boots();
        let last = boots.last().map(|boot| boot.trouble.as_slice());
        let trouble = last.unwrap_or_default().iter();
        trouble.map(|trouble| trouble.what.to_string()).collect()
    }
}

/// The Artifacts that are stuck, as the keeper has them.
fn stuck(world: &World, snapshot: &Snapshot) -> Result<AllStuck, String> {
    let one = |(name, error): (&String, &String)| {
        let wanted = |want: &&Want| want.name.to_string() == *name;
        let want = snapshot
            .artifacts
            .iter()
            .map(|entry| &entry.want)
            .find(wanted);
        let want = want.ok_or_else(|| format!("nobody wants the Artifact {name}"))?;
        let stuck = Stuck {
            identity: want.identity(),
            error: error.clone(),
        };
        Ok::<_, String>((want.name.clone(), stuck))
    };
    world.stuck.iter().map(one).collect()
}

fn loaders(world: &World) -> Result<BTreeMap<Architecture, String>, String> {
    let Some(named) = &world.loaders else {
        let usual = |arch: Architecture| (arch, arch.ipxe_files()[0].to_owned());
        return Ok(Architecture::ALL.into_iter().map(usual).collect());
    };
    let one = |(arch, file): (&String, &String)| Ok((arch.parse()?, file.clone()));
    named.iter().map(one).collect()
}

fn authority(standing: Standing) -> Authority {
    let Standing {
        role,
        replicas,
        ordinal,
        settled: settled_secs,
        fresh: fresh_secs,
    } = standing;
    let shares = Shares { replicas, ordinal };
    match role {
        Role::Sole => Authority::Sole,
        Role::Holder => Authority::Holder {
            shares,
            settled_secs,
        },
        Role::Isolated => Authority::Isolated { shares, fresh_secs },
        Role::Standby => Authority::Standby { shares },
    }
}

fn silence(step: &Step, ignored: Ignored) -> Result<(), String> {
    let wanted = match (&step.ignored, &step.reply) {
        (Some(reason), _) => format!("ignored: {reason}"),
        (None, Some(reply)) => reply.kind.clone(),
        (None, None) => "`reply` or `ignored` in the step".to_owned(),
    };
    same("answer", &wanted, &format!("ignored: {}", ignored.as_str()))
}

fn check_reply(want: &ReplyWant, got: &Packet, destination: Destination) -> Result<(), String> {
    let facts = |values: [&dyn ToString; 7]| -> Facts {
        let names = ["type", "to", "ciaddr", "yiaddr", "siaddr", "sname", "file"];
        let values = values.iter().map(|value| value.to_string());
        names.map(str::to_owned).into_iter().zip(values).collect()
    };
    let to = match destination {
        Destination::Relay(relay) if relay.port() == 67 => format!("relay {}", relay.ip()),
        Destination::Relay(relay) => format!("relay {relay}"),
        Destination::Client(address) => format!("client {address}"),
        Destination::Hardware { address, mac } => format!("hardware {address} {mac}"),
        Destination::Asker(asker) => format!("asker {asker}"),
        Destination::Broadcast => "broadcast".to_owned(),
    };
    let ReplyWant {
        kind,
        to: want_to,
        ciaddr,
        yiaddr,
        siaddr,
        sname,
        file,
        chaddr,
        options,
        all_options,
        at_most: _,
    } = want;
    let mut wanted = facts([kind, want_to, ciaddr, yiaddr, siaddr, sname, file]);
    let mut found = facts([
        &got.kind,
        &to,
        &got.ciaddr,
        &got.yiaddr,
        &got.siaddr,
        &got.sname,
        &got.file,
    ]);
    if let Some(chaddr) = chaddr {
        let hex = options::hex(&options::unhex(chaddr)?);
        wanted.insert("chaddr".to_owned(), hex);
        found.insert("chaddr".to_owned(), got.chaddr.clone());
    }
    let absent = "(absent)".to_owned();
    for (code, data) in encode(all_options.as_ref().unwrap_or(options))? {
        let name = options::name(code);
        if data.is_none() {
            found.entry(name.clone()).or_insert_with(|| absent.clone());
        }
        wanted.insert(
            name,
            data.map_or_else(|| absent.clone(), |data| show(code, &data)),
        );
    }
    for (code, data) in got.options.iter().filter(|(code, _)| **code != 53) {
        found.insert(options::name(*code), show(*code, data));
    }
    if all_options.is_none() {
        found.retain(|name, _| wanted.contains_key(name));
    }
    compare(&wanted, &found, true)
}
