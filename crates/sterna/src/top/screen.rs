//! The terminal as a screen: taken, drawn to, and given back as it was, whatever happens.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};
use rustix::termios::{self, OptionalActions, Termios};

/// The terminal, until it is dropped.
pub(super) struct Screen {
    out: io::Stdout,
    has_colours: bool,
}

/// How the terminal was.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// The other screen, without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

/// A terminal that does not say how large it is.
const USUAL: Size = Size { width: 80, height: 24 };

impl Screen {
    /// Whether there is a terminal that can be drawn to.
    pub(super) fn is_possible() -> bool {
        let is_able = env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
        is_able && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Takes the terminal. A panic gives it back before it is told, as does the end of this.
    pub(super) fn take() -> io::Result<Screen> {
        let input = io::stdin();
        let before = termios::tcgetattr(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        BEFORE.get_or_init(|| before);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            report(panic);
        }));
        termios::tcsetattr(&input, OptionalActions::Now, &raw)?;
        // As no-color.org has it.
        let has_colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut screen = Screen { out: io::stdout(), has_colours };
        screen.out.write_all(ENTER.as_bytes())?;
        screen.out.flush()?;
        Ok(screen)
    }
}

fn give_back() {
    let Some(before) = BEFORE.get() else { return };
    // A terminal that is gone needs nothing back.
    let mut out = io::stdout();
    let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// The number of a colour of the eight that every terminal has.
fn number_of(colour: Color) -> Option<u8> {
    match colour {
        Color::Red => Some(1),
        Color::Green => Some(2),
        Color::Yellow => Some(3),
        Color::Cyan => Some(6),
        _ => None,
    }
}

/// What makes the terminal write as this cell does.
fn style_of(cell: &Cell, has_colours: bool) -> String {
    let mut style = "\x1b[0".to_owned();
    for (modifier, code) in [(Modifier::BOLD, ";1"), (Modifier::DIM, ";2"), (Modifier::REVERSED, ";7")] {
        if cell.modifier.contains(modifier) {
            style.push_str(code);
        }
    }
    if let Some(number) = number_of(cell.fg).filter(|_| has_colours) {
        style.push_str(&format!(";3{number}"));
    }
    style.push('m');
    style
}

impl Backend for Screen {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut text, mut last, mut style) = (String::new(), None, String::new());
        for (x, y, cell) in content {
            if x == 0 || last != Some((x - 1, y)) {
                text.push_str(&format!("\x1b[{};{}H", y + 1, x + 1));
            }
            last = Some((x, y));
            let wanted = style_of(cell, self.has_colours);
            if wanted != style {
                text.push_str(&wanted);
                style = wanted;
            }
            text.push_str(cell.symbol());
        }
        text.push_str("\x1b[0m");
        self.out.write_all(text.as_bytes())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25h")
    }

    /// Nothing is drawn where the cursor is.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        self.out.write_all(format!("\x1b[{};{}H", y.saturating_add(1), x.saturating_add(1)).as_bytes())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.out.write_all(match region {
            ClearType::All => b"\x1b[2J",
            ClearType::AfterCursor => b"\x1b[0J",
            ClearType::BeforeCursor => b"\x1b[1J",
            ClearType::CurrentLine => b"\x1b[2K",
            ClearType::UntilNewLine => b"\x1b[0K",
        })
    }

    fn size(&self) -> io::Result<Size> {
        let size = termios::tcgetwinsize(self.out.as_fd())?;
        let is_known = size.ws_col > 0 && size.ws_row > 0;
        Ok(if is_known { Size { width: size.ws_col, height: size.ws_row } } else { USUAL })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
