//! How figures are shown: six lines about the whole, then tables that share what is left, and a line of keys.
//!
//! Nothing depends on colours: what is chosen is reversed, what is wrong is bold, and says so in words.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};

use super::Key;
use super::figures::{Figures, Percentiles};
use crate::groups::Group;
use crate::lag::duration;
use crate::text::Plain;

/// What is shown, and how.
pub(super) struct View {
    address: String,
    figures: Option<Figures>,
    /// What came while it stood still.
    pending: Option<Figures>,
    /// Why the server does not answer, if it doesn't.
    away: Option<String>,
    is_paused: bool,
    is_zoomed: bool,
    /// Which table is chosen, of [`TABLES`].
    chosen: usize,
    /// What each is sorted by, of its [`Kind::orders`].
    orders: [usize; TABLES],
    /// Rows passed over in each.
    offsets: [usize; TABLES],
}

const TABLES: usize = 4;

/// A table: its names, and what it can be sorted by.
struct Kind {
    name: &'static str,
    orders: &'static [&'static str],
    /// Title and width; the first takes what is left.
    columns: &'static [(&'static str, usize)],
    empty: &'static str,
}

const KINDS: [Kind; TABLES] = [
    Kind {
        name: "SHARD",
        orders: &["number", "load", "commands", "clients"],
        columns: &[
            ("LOAD", 5),
            ("CLIENTS", 8),
            ("COMMANDS/s", 11),
            ("PUBLISHED/s", 12),
            ("DELIVERED/s", 12),
            ("OUT/s", 8),
        ],
        empty: "the server tells of none",
    },
    Kind {
        name: "COMMAND",
        orders: &["calls", "load", "p99", "name"],
        columns: &[("CALLS/s", 10), ("LOAD", 7), ("MEAN", 9), ("P50", 9), ("P99", 9)],
        empty: "none was called",
    },
    Kind {
        name: "SLOW CLIENT",
        orders: &["queued", "age", "name"],
        columns: &[("NAME", 16), ("USER", 12), ("SUBSCRIBED", 12), ("AGE", 6), ("QUEUED", 10)],
        empty: "nothing is queued for anybody",
    },
    Kind {
        name: "STREAM",
        orders: &["behind", "pending", "oldest", "name"],
        columns: &[("GROUP", 16), ("BEHIND", 10), ("PENDING", 10), ("OLDEST", 8), ("CONSUMERS", 11)],
        empty: "no stream has a group",
    },
];

/// Lines about the whole.
const HEAD: u16 = 6;

/// Columns and lines of what is printed where there is no terminal.
const PRINTED: (u16, u16) = (100, 400);

const PLAIN: Style = Style::new();
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const TITLE: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// The figures as text, all rows of all tables.
pub(super) fn text(figures: &Figures, address: &str) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, PRINTED.0, PRINTED.1));
    let rows = rows(figures, [0; TABLES]);
    head(&mut buffer, figures, address, "");
    let mut y = HEAD;
    for (index, rows) in rows.iter().enumerate() {
        let room = PRINTED.1.saturating_sub(y);
        y += table(&mut buffer, y + 1, &Shown { index, rows, offset: 0, room, style: TITLE, order: "" }) + 1;
    }
    let line = |y: u16| -> String {
        let cells = (0..PRINTED.0).filter_map(|x| buffer.cell((x, y)));
        cells.map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n"
    };
    (0..y.min(PRINTED.1)).map(line).collect()
}

impl View {
    pub(super) fn new(address: String) -> View {
        View {
            address,
            figures: None,
            pending: None,
            away: None,
            is_paused: false,
            is_zoomed: false,
            chosen: 1,
            orders: [0; TABLES],
            offsets: [0; TABLES],
        }
    }

    /// Shows these from now on, unless it stands still.
    pub(super) fn take(&mut self, figures: Figures) {
        self.away = None;
        if self.is_paused {
            self.pending = Some(figures);
        } else {
            self.figures = Some(figures);
        }
    }

    /// Says that the server does not answer.
    pub(super) fn lose(&mut self, error: String) {
        self.away = Some(error);
    }

    pub(super) fn obey(&mut self, key: Key) {
        match key {
            Key::Quit => {}
            Key::Pause => {
                self.is_paused = !self.is_paused;
                if let Some(figures) = self.pending.take() {
                    self.figures = Some(figures);
                }
            }
            Key::Sort => {
                let order = &mut self.orders[self.chosen];
                *order = (*order + 1) % KINDS[self.chosen].orders.len();
                self.offsets[self.chosen] = 0;
            }
            Key::Next => self.chosen = (self.chosen + 1) % TABLES,
            Key::Zoom => self.is_zoomed = !self.is_zoomed,
            Key::Up => self.offsets[self.chosen] = self.offsets[self.chosen].saturating_sub(1),
            Key::Down => self.offsets[self.chosen] += 1,
        }
    }

    pub(super) fn draw(&mut self, buffer: &mut Buffer) {
        let area = buffer.area;
        let state = match (&self.away, self.is_paused) {
            (Some(_), _) => "AWAY",
            (None, true) => "PAUSED",
            (None, false) => "",
        };
        let Some(figures) = &self.figures else {
            put(buffer, 0, "waiting for the first figures ...", PLAIN);
            return;
        };
        head(buffer, figures, &self.address, state);
        let rows = rows(figures, self.orders);
        let shown: Vec<usize> = if self.is_zoomed { vec![self.chosen] } else { (0..TABLES).collect() };
        let room = usize::from(area.height.saturating_sub(HEAD + 1));
        // A row for its title and one for what is in it; the rest is shared.
        let wants: Vec<usize> = shown.iter().map(|&index| rows[index].len().max(1) + 1).collect();
        let rooms = share(room, &wants);
        let mut y = HEAD;
        for (&index, room) in shown.iter().zip(rooms) {
            let rows = &rows[index];
            // The last page is full.
            self.offsets[index] = self.offsets[index].min(rows.len().saturating_sub(room.saturating_sub(1)));
            let style = if index == self.chosen { CHOSEN } else { TITLE };
            let order = KINDS[index].orders[self.orders[index]];
            let (offset, room) = (self.offsets[index], room as u16);
            table(buffer, y, &Shown { index, rows, offset, room, style, order });
            y += room;
        }
        if area.height > HEAD {
            let last = area.height - 1;
            match &self.away {
                Some(error) => put(buffer, last, &format!("{error}; connecting again (q leaves)"), ALARM),
                None => put(
                    buffer,
                    last,
                    "q quit  p pause  s sort  tab next table  z that alone  up, down scroll",
                    PLAIN,
                ),
            }
        }
    }
}

/// Hands out `room` lines: to each what it wants, if that is no more than its part of what the others leave.
fn share(room: usize, wants: &[usize]) -> Vec<usize> {
    let mut given = vec![0; wants.len()];
    let mut left = room;
    while left > 0 {
        let before = left;
        for (given, want) in given.iter_mut().zip(wants) {
            if left > 0 && *given < *want {
                *given += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    given
}

/// Writes a line; what is too long is cut.
fn put(buffer: &mut Buffer, y: u16, text: &str, style: Style) {
    if y < buffer.area.height {
        buffer.set_stringn(0, y, text, usize::from(buffer.area.width), style);
    }
}

fn head(buffer: &mut Buffer, figures: &Figures, address: &str, state: &str) {
    let f = figures;
    let first = format!("{} at {address}, up {}", f.version, duration(f.uptime_s * 1000));
    let first = if f.is_loading { format!("{first}, LOADING") } else { first };
    put(buffer, 0, &first, BOLD);
    if !state.is_empty() {
        let width = usize::from(buffer.area.width);
        let x = width.saturating_sub(state.len()) as u16;
        buffer.set_stringn(x, 0, state, width - usize::from(x), if state == "AWAY" { ALARM } else { CHOSEN });
    }
    let fan_out = if f.published > 0.0 { f.delivered / f.published } else { 0.0 };
    let (p50, p99) = times(f.delivery.as_ref());
    put(
        buffer,
        1,
        &format!(
            "messages  {}/s published  {}/s delivered  x{}  to socket p50 {p50} p99 {p99}",
            amount(f.published),
            amount(f.delivered),
            amount(fan_out)
        ),
        PLAIN,
    );
    let traffic = format!(
        "commands  {}/s  in {}/s  out {}/s  errors {}/s",
        amount(f.commands_per_s),
        size(f.in_bytes),
        size(f.out_bytes),
        amount(f.errors)
    );
    put(buffer, 2, &traffic, PLAIN);
    let is_full = f.clients * 10 >= f.maxclients * 9 && f.maxclients > 0;
    put(
        buffer,
        3,
        &format!(
            "clients   {} of {}  {} subscribe  {} blocked  {} detached  {} closed as slow",
            f.clients, f.maxclients, f.subscribers, f.blocked, f.detached, f.slow_closed
        ),
        if is_full { ALARM } else { PLAIN },
    );
    let max = if f.memory_max == 0 { String::new() } else { format!(" of {}", size(f.memory_max as f64)) };
    put(
        buffer,
        4,
        &format!(
            "memory    {}{max}  resident {}  {} keys  expired {}/s  evicted {}/s",
            size(f.memory as f64),
            size(f.resident as f64),
            f.keys,
            amount(f.expired),
            amount(f.evicted)
        ),
        PLAIN,
    );
    let journal = match (f.has_journal, f.is_write_ok) {
        (_, false) => "journal   WRITES FAIL".to_owned(),
        (false, true) => "journal   off".to_owned(),
        (true, true) => format!(
            "journal   {} not yet synced  {} syncs/s  {} a sync",
            size(f.unsynced as f64),
            amount(f.syncs),
            f.sync_us.map_or_else(|| "-".to_owned(), |us| time(us as u64))
        ),
    };
    put(buffer, 5, &journal, if f.is_write_ok { PLAIN } else { ALARM });
}

/// A table as it is to be drawn.
struct Shown<'a> {
    index: usize,
    rows: &'a [Vec<String>],
    offset: usize,
    /// Lines, with the title's.
    room: u16,
    style: Style,
    order: &'a str,
}

/// Draws a table, and says how many lines that took.
fn table(buffer: &mut Buffer, y: u16, shown: &Shown<'_>) -> u16 {
    let kind = &KINDS[shown.index];
    if shown.room == 0 {
        return 0;
    }
    let width = usize::from(buffer.area.width);
    let rest: usize = kind.columns.iter().map(|(_, width)| width).sum();
    let first = width.saturating_sub(rest).max(12);
    let seen = usize::from(shown.room - 1);
    let hidden = shown.rows.len().saturating_sub(seen);
    let mut name = kind.name.to_owned();
    if !shown.order.is_empty() {
        name = format!("{name} by {}", shown.order);
    }
    if hidden > 0 {
        name = format!("{name} (of {})", shown.rows.len());
    }
    let title: Vec<String> =
        std::iter::once(name).chain(kind.columns.iter().map(|(title, _)| (*title).to_owned())).collect();
    put(buffer, y, &format!("{:<width$}", line(&title, first, kind)), shown.style);
    if shown.rows.is_empty() && seen > 0 {
        put(buffer, y + 1, &format!("  {}", kind.empty), PLAIN);
        return 2;
    }
    let rows = shown.rows.iter().skip(shown.offset).take(seen);
    let mut lines = 1;
    for row in rows {
        put(buffer, y + lines, &line(row, first, kind), PLAIN);
        lines += 1;
    }
    lines
}

/// Cells side by side: the first on the left, the others on the right of their columns.
fn line(cells: &[String], first: usize, kind: &Kind) -> String {
    let mut line = cell(&cells[0], first, true);
    for (text, &(_, width)) in cells[1..].iter().zip(kind.columns) {
        line.push_str(&cell(text, width, false));
    }
    line
}

fn cell(text: &str, width: usize, is_left: bool) -> String {
    // A space keeps columns apart.
    let most = width.saturating_sub(1);
    let count = text.chars().count();
    let text: String = if count > most {
        text.chars().take(most.saturating_sub(1)).chain(['~']).collect()
    } else {
        text.to_owned()
    };
    if is_left { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

/// The rows of each table, in order.
fn rows(figures: &Figures, orders: [usize; TABLES]) -> [Vec<Vec<String>>; TABLES] {
    [
        shards(figures, orders[0]),
        commands(figures, orders[1]),
        slow(figures, orders[2]),
        groups(figures, orders[3]),
    ]
}

/// The largest first.
fn falling<T>(rows: &mut [T], of: impl Fn(&T) -> f64) {
    rows.sort_by(|one, other| of(other).total_cmp(&of(one)));
}

fn shards(figures: &Figures, order: usize) -> Vec<Vec<String>> {
    let mut shards: Vec<_> = figures.shards.iter().collect();
    match KINDS[0].orders[order] {
        "load" => falling(&mut shards, |shard| shard.load.unwrap_or(0.0)),
        "commands" => falling(&mut shards, |shard| shard.commands),
        "clients" => falling(&mut shards, |shard| shard.clients as f64),
        _ => {}
    }
    let row = |shard: &&super::figures::Shard| {
        vec![
            shard.index.to_string(),
            shard.load.map_or_else(|| "-".to_owned(), |load| format!("{load:.0}%")),
            shard.clients.to_string(),
            amount(shard.commands),
            amount(shard.published),
            amount(shard.delivered),
            size(shard.out_bytes),
        ]
    };
    shards.iter().map(row).collect()
}

fn commands(figures: &Figures, order: usize) -> Vec<Vec<String>> {
    let mut commands: Vec<_> = figures.commands.iter().collect();
    match KINDS[1].orders[order] {
        "calls" => falling(&mut commands, |command| command.calls),
        "load" => falling(&mut commands, |command| command.share),
        "p99" => falling(&mut commands, |command| command.took.map_or(0.0, |took| took.p99 as f64)),
        _ => {}
    }
    let row = |command: &&super::figures::Command| {
        let (p50, p99) = times(command.took.as_ref());
        vec![
            command.name.clone(),
            amount(command.calls),
            format!("{:.1}%", command.share),
            command.mean_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}us")),
            p50,
            p99,
        ]
    };
    commands.iter().map(row).collect()
}

fn slow(figures: &Figures, order: usize) -> Vec<Vec<String>> {
    let Some(clients) = &figures.slow else { return vec![not_allowed(KINDS[2].columns.len())] };
    let mut clients: Vec<_> = clients.iter().collect();
    match KINDS[2].orders[order] {
        "queued" => falling(&mut clients, |client| client.queued_bytes as f64),
        "age" => falling(&mut clients, |client| client.age_s as f64),
        _ => clients.sort_by(|one, other| one.name.cmp(&other.name)),
    }
    let row = |client: &&super::sample::Client| {
        vec![
            client.address.clone(),
            client.name.clone(),
            client.user.clone(),
            client.subscriptions.to_string(),
            duration(client.age_s * 1000),
            size(client.queued_bytes as f64),
        ]
    };
    clients.iter().map(row).collect()
}

fn groups(figures: &Figures, order: usize) -> Vec<Vec<String>> {
    let Some(groups) = &figures.groups else { return vec![not_allowed(KINDS[3].columns.len())] };
    let mut groups: Vec<&Group> = groups.iter().collect();
    let oldest_ms = |group: &&Group| group.oldest.as_ref().map_or(0, |oldest| oldest.idle_ms);
    match KINDS[3].orders[order] {
        // What is not known may be anything.
        "behind" => falling(&mut groups, |group| group.lag.map_or(f64::MAX, |lag| lag as f64)),
        "pending" => falling(&mut groups, |group| group.pending as f64),
        "oldest" => falling(&mut groups, |group| oldest_ms(group) as f64),
        _ => {}
    }
    let row = |group: &&Group| {
        vec![
            Plain(&group.stream).to_string(),
            Plain(&group.name).to_string(),
            group.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
            group.pending.to_string(),
            group.oldest.as_ref().map_or_else(|| "-".to_owned(), |oldest| duration(oldest.idle_ms)),
            group.consumers.to_string(),
        ]
    };
    groups.iter().map(row).collect()
}

/// A row that says why there is no other.
fn not_allowed(columns: usize) -> Vec<String> {
    let mut row = vec![String::new(); columns + 1];
    row[0] = "no right to it".to_owned();
    row
}

fn times(took: Option<&Percentiles>) -> (String, String) {
    let shown = |us: fn(&Percentiles) -> u64| took.map_or_else(|| "-".to_owned(), |took| time(us(took)));
    (shown(|took| took.p50), shown(|took| took.p99))
}

/// Microseconds for people.
fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us}us"),
        1000..1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        _ => format!("{:.1}s", us as f64 / 1e6),
    }
}

/// A number for people: `0.5`, `17`, `12.3k`.
fn amount(number: f64) -> String {
    match number {
        n if n > 0.0 && n < 10.0 => format!("{n:.1}"),
        n if n < 10_000.0 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1}k", n / 1e3),
        n if n < 1e9 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

/// Bytes for people, in powers of 1024.
fn size(bytes: f64) -> String {
    match bytes {
        n if n < 1024.0 => format!("{n:.0}B"),
        n if n < 1024.0 * 1024.0 => format!("{:.1}K", n / 1024.0),
        n if n < 1024.0 * 1024.0 * 1024.0 => format!("{:.1}M", n / 1024.0 / 1024.0),
        n => format!("{:.2}G", n / 1024.0 / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::figures::{Command, Shard};

    fn figures() -> Figures {
        let shard = |index| Shard { index, load: Some(index as f64), ..Shard::default() };
        let command =
            |index: usize| Command { name: format!("c{index}"), calls: index as f64, ..Command::default() };
        let group = |index: usize| Group {
            stream: format!("s{index}\x1b[2J").into_bytes(),
            name: b"workers".to_vec(),
            lag: Some(index as u64),
            ..Group::default()
        };
        Figures {
            shards: (0..64).map(shard).collect(),
            commands: (0..64).map(command).collect(),
            groups: Some((0..64).map(group).collect()),
            slow: Some(Vec::new()),
            ..Figures::default()
        }
    }

    fn drawn(view: &mut View, width: u16, height: u16) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view.draw(&mut buffer);
        let row = |y| (0..width).map(|x| buffer.cell((x, y)).map_or("", |cell| cell.symbol())).collect();
        (0..height).map(row).collect()
    }

    #[test]
    fn every_table_has_its_place_in_the_smallest_usual_terminal_and_in_any_smaller_one() {
        let mut view = View::new("127.0.0.1:6379".to_owned());
        view.take(figures());
        let lines = drawn(&mut view, 80, 24);
        for (name, rows) in [
            ("SHARD by number (of 64)", "63"),
            ("COMMAND by calls", "c63"),
            ("SLOW CLIENT", "nothing"),
            ("STREAM by behind", "s63\\x1b"),
        ] {
            let at = lines
                .iter()
                .position(|line| line.starts_with(name))
                .unwrap_or_else(|| panic!("{name}: {lines:#?}"));
            assert!(name.starts_with("SHARD") || lines[at + 1].trim().starts_with(rows), "{lines:#?}");
        }
        assert!(lines[23].starts_with("q quit"));
        for (width, height) in [(1, 1), (5, 3), (40, 8), (20, 24), (300, 100)] {
            drawn(&mut view, width, height);
        }
    }

    #[test]
    fn keys_sort_choose_zoom_scroll_and_stop() {
        let mut view = View::new("a".to_owned());
        view.take(figures());
        [Key::Next, Key::Next, Key::Next, Key::Sort, Key::Zoom].into_iter().for_each(|key| view.obey(key));
        let lines = drawn(&mut view, 80, 24);
        assert!(lines[6].starts_with("SHARD by load") && lines[7].starts_with("63 "), "{lines:#?}");
        view.obey(Key::Down);
        assert!(drawn(&mut view, 80, 24)[7].starts_with("62 "));
        (0..1000).for_each(|_| view.obey(Key::Down));
        assert!(drawn(&mut view, 80, 24)[22].starts_with("0 "));
        view.obey(Key::Pause);
        view.take(Figures::default());
        assert!(drawn(&mut view, 80, 24)[0].ends_with("PAUSED"));
        assert!(drawn(&mut view, 80, 24)[22].starts_with("0 "), "it stands still");
        view.obey(Key::Pause);
        assert!(drawn(&mut view, 80, 24)[7].contains("the server tells of none"));
        view.lose("gone".to_owned());
        let lines = drawn(&mut view, 80, 24);
        assert!(lines[0].ends_with("AWAY") && lines[23].starts_with("gone"));
    }

    #[test]
    fn lines_are_shared_so_that_who_wants_little_leaves_it_to_the_others() {
        assert_eq!(share(17, &[2, 65, 2, 65]), [2, 7, 2, 6]);
        assert_eq!(share(3, &[9, 9, 9, 9]), [1, 1, 1, 0]);
        assert_eq!(share(100, &[2, 3]), [2, 3]);
    }
}
