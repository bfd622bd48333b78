//! Leases as Kea's memfile backend keeps them: a CSV file that is written like
//! a log, where the last line of an address counts. Pure; see `kea6` for those
//! of IPv6.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::kea6;
use super::record::{Lease, LeaseKey, LeaseState, MAX_CLIENT_ID, Record, unhex};
use super::transfer::{Imported, LineProblem, Networks};
use crate::boot::MacAddress;
use crate::clock::Millis;

/// Columns that every version of the file has, and that we read.
const COLUMNS: [&str; 6] = [
    "address",
    "hwaddr",
    "client_id",
    "valid_lifetime",
    "expire",
    "hostname",
];

/// Absent in files of Kea 0.9, where every lease is in the default state.
const STATE: &str = "state";

/// A field that cannot be read, and why.
pub(super) type FieldProblem = (&'static str, String);

/// Where each column of this file is.
struct Columns(BTreeMap<String, usize>);

/// One line, by columns.
pub(super) struct Row<'a> {
    columns: &'a Columns,
    fields: Vec<&'a str>,
}

/// Reads Kea's `kea-leases4.csv` or `kea-leases6.csv`, whichever `text` is. The
/// Subnet of a lease is the one of `networks` that has its address; Kea's own
/// numbers mean nothing here. A line that cannot be read costs only itself,
/// and a line with a lifetime of 0 says that the lease was deleted.
#[must_use]
pub fn import_kea(text: &str, networks: &Networks) -> Imported {
    let header = text.lines().find(|line| !line.trim().is_empty());
    let is_v6 = header.is_some_and(|header| header.split(',').any(|name| name == "duid"));
    if is_v6 {
        let read = |row: &Row<'_>| kea6::lease(row, networks);
        let (leases6, problems) = leases(text, &kea6::COLUMNS, &read);
        return Imported {
            leases6,
            problems,
            ..Imported::default()
        };
    }
    let (leases, problems) = leases(text, &COLUMNS, &|row| row.lease(networks));
    Imported {
        leases,
        problems,
        ..Imported::default()
    }
}

/// The lease of a line; `None` where it says that there is none.
type Read<'a, L> = &'a dyn Fn(&Row<'_>) -> Result<Option<L>, FieldProblem>;

/// The leases of `text`, whose header names `needed` at least, and the lines
/// that cannot be read.
fn leases<L>(
    text: &str,
    needed: &'static [&'static str],
    read: Read<'_, L>,
) -> (Vec<L>, Vec<LineProblem>)
where
    L: Record<Address: FromStr>,
{
    let mut problems = Vec::new();
    let mut leases = BTreeMap::new();
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let mut fails = |line, (field, message)| {
        problems.push(LineProblem {
            line,
            field,
            message,
        });
    };
    let columns = match lines
        .next()
        .map(|(_, header)| Columns::read(header, needed))
    {
        Some(Ok(columns)) => columns,
        Some(Err(problem)) => {
            fails(1, problem);
            return (Vec::new(), problems);
        }
        None => return (Vec::new(), problems),
    };
    for (index, line) in lines {
        let row = columns.row(line, needed);
        match row.and_then(|row| Ok((row.parse("address")?, read(&row)?))) {
            Ok((_, Some(lease))) => {
                leases.insert(lease.address(), lease);
            }
            Ok((address, None)) => {
                leases.remove(&address);
            }
            Err(problem) => fails(index + 1, problem),
        }
    }
    (leases.into_values().collect(), problems)
}

// === impl Columns ===

impl Columns {
    fn read(header: &str, needed: &[&'static str]) -> Result<Self, FieldProblem> {
        let names = header.trim_end().split(',').map(str::to_owned);
        let columns: BTreeMap<String, usize> = names.zip(0..).collect();
        match needed.iter().find(|name| !columns.contains_key(**name)) {
            Some(missing) => Err((
                *missing,
                "no such column: is this a lease file of Kea's memfile backend?".to_owned(),
            )),
            None => Ok(Self(columns)),
        }
    }

    fn row<'a>(&'a self, line: &'a str, needed: &[&str]) -> Result<Row<'a>, FieldProblem> {
        let fields: Vec<&str> = line.trim_end_matches('\r').split(',').collect();
        // Lines of an older Kea may end early: its columns come first.
        let needed = needed.iter().filter_map(|name| self.0.get(*name)).max();
        if fields.len() > self.0.len() || needed.is_some_and(|last| fields.len() <= *last) {
            let message = format!("{} fields, the header names {}", fields.len(), self.0.len());
            return Err(("line", message));
        }
        Ok(Row {
            columns: self,
            fields,
        })
    }
}

// === impl Row ===

impl Row<'_> {
    pub(super) fn text(&self, name: &str) -> &str {
        let at = self.columns.0.get(name);
        at.and_then(|at| self.fields.get(*at))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn parse<T: FromStr>(&self, name: &'static str) -> Result<T, FieldProblem> {
        let text = self.text(name);
        text.parse()
            .map_err(|_| (name, format!("`{text}` is not one")))
    }

    /// The lease of this line; `None` where it says that there is none.
    fn lease(&self, networks: &Networks) -> Result<Option<Lease>, FieldProblem> {
        let address: Ipv4Addr = self.parse("address")?;
        let state = self.state()?;
        let Some((since, expires)) = self.times()? else {
            return Ok(None);
        };
        let subnet = networks
            .subnet_of(address)
            .ok_or_else(|| ("address", format!("`{address}` is in no Subnet")))?;
        let (mac, client_id) = (self.mac()?, self.client_id()?);
        let hostname = Some(unescape(self.text("hostname"))).filter(|name| !name.is_empty());
        Ok(Some(Lease {
            address,
            key: key(mac, client_id.as_deref(), state)?,
            mac,
            client_id: client_id.map(Vec::into_boxed_slice),
            subnet: subnet.into(),
            hostname: hostname.map(Into::into),
            state,
            since,
            expires,
        }))
    }

    /// When a lease began and ends; `None` where it was deleted.
    pub(super) fn times(&self) -> Result<Option<(Millis, Millis)>, FieldProblem> {
        let valid: u32 = self.parse("valid_lifetime")?;
        let expire: u64 = self.parse("expire")?;
        if valid == 0 {
            return Ok(None);
        }
        let since = expire
            .checked_sub(valid.into())
            .ok_or_else(|| ("expire", format!("`{expire}` is before the lease began")))?;
        Ok(Some((Millis::from_secs(since), Millis::from_secs(expire))))
    }

    /// A hardware address of Ethernet's length; others (InfiniBand) are no
    /// use as a key.
    pub(super) fn mac(&self) -> Result<Option<MacAddress>, FieldProblem> {
        let text = self.text("hwaddr");
        let bytes = unhex(text).ok_or_else(|| ("hwaddr", format!("`{text}` is not hex")))?;
        let mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddress::new);
        Ok(mac.filter(|mac| mac.is_station()))
    }

    fn client_id(&self) -> Result<Option<Vec<u8>>, FieldProblem> {
        let text = self.text("client_id");
        let bytes = unhex(text).ok_or_else(|| ("client_id", format!("`{text}` is not hex")))?;
        if bytes.len() > MAX_CLIENT_ID {
            return Err(("client_id", format!("longer than {MAX_CLIENT_ID} bytes")));
        }
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Reclaimed leases become released ones: kept for their machine.
    pub(super) fn state(&self) -> Result<LeaseState, FieldProblem> {
        match self.text(STATE) {
            "" | "0" => Ok(LeaseState::Bound),
            "1" => Ok(LeaseState::Declined),
            "2" | "3" => Ok(LeaseState::Released),
            other => Err((STATE, format!("`{other}` is not 0, 1, 2 or 3"))),
        }
    }
}

/// Kea strips a declined lease of whom it belonged to; here the key of one
/// means nothing, so nobody's MAC will do.
fn key(
    mac: Option<MacAddress>,
    client_id: Option<&[u8]>,
    state: LeaseState,
) -> Result<LeaseKey, FieldProblem> {
    match (mac, client_id) {
        (Some(mac), _) => Ok(LeaseKey::Mac(mac)),
        (None, Some(id)) => Ok(LeaseKey::ClientId(id.into())),
        (None, None) if state == LeaseState::Declined => Ok(LeaseKey::Mac(MacAddress::new([0; 6]))),
        (None, None) => Err(("hwaddr", "neither a MAC address nor a client id".to_owned())),
    }
}

/// Undoes Kea's `&#x2c` for the characters that CSV cannot have.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("&#x");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (code, part.get(2..)) {
            (Some(code), Some(rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            (None, _) | (_, None) => {
                plain.push_str("&#x");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id";

    #[test]
    fn reads_what_kea_writes() {
        let found = import(&[
            "10.33.1.100,52:54:00:00:00:01,01:52:54:00:00:00:01,4000,1800004000,1,0,0,node-7.example.net,0,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let lease = &found.leases[0];
        assert_eq!(lease.key.to_string(), "52:54:00:00:00:01");
        assert_eq!(lease.client_id, Some([1, 0x52, 0x54, 0, 0, 0, 1].into()));
        assert_eq!(&*lease.subnet, "default/lab");
        assert_eq!(lease.hostname.as_deref(), Some("node-7.example.net"));
        assert_eq!(lease.state, LeaseState::Bound);
        assert_eq!(
            (lease.since.secs(), lease.expires.secs()),
            (1_800_000_000, 1_800_004_000)
        );
    }

    #[test]
    fn later_lines_win_and_a_lifetime_of_zero_deletes() {
        let found = import(&[
            "10.33.1.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,old,0,,0",
            "10.33.1.2,52:54:00:00:00:02,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:03,,4000,1800008000,1,0,0,new,0,,0",
            "10.33.1.2,52:54:00:00:00:02,,0,1800004000,1,0,0,,0,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let hosts: Vec<_> = found.leases.iter().map(|l| l.hostname.as_deref()).collect();
        assert_eq!(hosts, [Some("new")]);
    }

    #[test]
    fn states_and_escapes_are_understood() {
        let found = import(&[
            "10.33.1.1,,,86400,1800004000,1,0,0,,1,,0",
            "10.33.1.2,52:54:00:00:00:02,,4000,1800004000,1,0,0,a&#x2cb&#xzz,2,{ \"a\": 1&#x2c \"b\": 2 },0",
            "10.33.1.3,,ff:00:01,4000,1800004000,1,0,0,,0,,0",
        ]);
        assert_eq!(found.problems, vec![]);
        let states: Vec<_> = found.leases.iter().map(|l| l.state).collect();
        assert_eq!(
            states,
            [
                LeaseState::Declined,
                LeaseState::Released,
                LeaseState::Bound
            ]
        );
        assert_eq!(found.leases[1].hostname.as_deref(), Some("a,b&#xzz"));
        assert_eq!(found.leases[2].key.to_string(), "id:ff0001");
    }

    #[test]
    fn bad_lines_are_named_and_the_good_ones_are_kept() {
        let found = import(&[
            "10.33.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:zz,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:01,,x,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:01,,4000,12,1,0,0,,0,,0",
            "10.33.1.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,,7,,0",
            "192.0.2.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,,0,,0",
            "10.33.1.1,52:54",
            "10.33.1.9,52:54:00:00:00:09,,4000,1800004000,1,0,0,good,0,,0",
        ]);
        let problems: Vec<_> = found.problems.iter().map(|p| (p.line, p.field)).collect();
        let want = [
            "address",
            "hwaddr",
            "hwaddr",
            "valid_lifetime",
            "expire",
            "state",
            "address",
            "line",
        ];
        assert_eq!(problems, (2..).zip(want).collect::<Vec<_>>());
        assert_eq!(found.leases.len(), 1);
    }

    #[test]
    fn files_of_older_versions_have_fewer_columns() {
        let text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname\n10.33.1.1,52:54:00:00:00:01,,4000,1800004000,1,0,0,a\n";
        let found = import_kea(text, &subnets());
        assert_eq!((found.leases.len(), found.problems), (1, vec![]));
    }

    #[test]
    fn a_file_that_is_none_of_keas_is_told_so() {
        let found = import_kea(
            "1700000000 52:54:00:00:00:01 10.33.1.1 node *\n",
            &subnets(),
        );
        assert_eq!(
            (found.problems[0].line, found.problems[0].field),
            (1, "address")
        );
        assert_eq!(import_kea("", &subnets()), Imported::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(lines in prop::collection::vec("[0-9a-f:.,&#x{}é]{0,60}", 0..6)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            import(&lines);
        }
    }

    fn import(lines: &[&str]) -> Imported {
        import_kea(&format!("{HEADER}\n{}\n", lines.join("\n")), &subnets())
    }

    fn subnets() -> Networks {
        Networks {
            v4: vec![("default/lab".to_owned(), "10.33.0.0/16".parse().unwrap())],
            v6: Vec::new(),
        }
    }
}
