//! What the keys do, and what is shown.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::{Theme, title};

const TEXT: [&str; 20] = [
    "q Esc Ctrl-C  leave                     p   pause, and go on",
    "+ -           look less, more often     s   files by number, by dead",
    "j k, arrows   scroll the files          h ? this help, and back",
    "",
    "PER S   in the last interval that the process told of, about a second;",
    "        \"as of\" is said when nothing was told for more than 3 s, as",
    "        happens when nothing changes",
    "PEAK    the most in a second of those that are plotted",
    "TOTAL   since the process opened the store",
    "plots   _ is none, then . : - = + * #, each row in its own scale",
    "",
    "NOW     operations of that interval: so long, or shorter, took half,",
    "ALL     99 %, 99.9 % and all of them; ALL is since opening. Of puts",
    "        and gets one in 64 is timed, so the longest may be missed",
    "",
    "SPACE   # is live, . is dead; a merge gives back what is dead",
    "MERGE   how much it has read of what it will, and all that merges",
    "        have given back since opening",
    "SNAPSHOTS and PINNED: what keeps a merge from giving back more, and",
    "        which threads hold it",
];
const WIDTH: u16 = 74;

/// Over what is there, as far as it fits.
pub(super) fn draw(frame: &mut Frame<'_>, theme: &Theme) {
    let area = frame.area();
    let rows = u16::try_from(TEXT.len() + 2).expect("they are few");
    let (width, height) = (WIDTH.min(area.width), rows.min(area.height));
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let place = Rect { x, y, width, height };
    let wide = usize::from(width);
    let mut lines = vec![title(" HELP", theme, wide)];
    lines.extend(TEXT.iter().map(|line| Line::from(format!("  {line}"))));
    lines.push(title(" h, ? or Esc: back", theme, wide));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines), place);
}
