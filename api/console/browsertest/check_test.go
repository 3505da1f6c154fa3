package browsertest

import (
	"context"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// checkPage checks what every page must be, in both schemes, on a wide and on a narrow screen, and keeps its pictures.
func (b *browser) checkPage(name string) {
	b.t.Helper()
	b.checkStructure()
	b.checkNames()
	for _, width := range []int64{wide, narrow} {
		b.width(width)
		b.checkWidth(width)
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			b.checkContrast(scheme)
			suffix := ""
			if width == narrow {
				suffix = "-narrow"
			}
			b.shoot(name + "-" + scheme + suffix)
		}
	}
	b.width(wide)
	b.scheme("light")
}

// structure returns what is wrong with the markup, for people who do not see the page.
const structure = `(() => {
	const wrong = [];
	const visible = e => e.getClientRects().length > 0;
	if (!document.documentElement.lang) wrong.push("no language");
	if (!document.title) wrong.push("no title");
	const headings = [...document.querySelectorAll("h1,h2,h3,h4")].filter(visible).map(h => Number(h.tagName[1]));
	if (headings.filter(h => h === 1).length !== 1) wrong.push("not one h1");
	headings.forEach((h, i) => { if (i > 0 && h > headings[i - 1] + 1) wrong.push("a heading of level " + h + " after one of " + headings[i - 1]); });
	if (document.querySelectorAll("main").length !== 1) wrong.push("not one main");
	if (!document.querySelector("a.skip")) wrong.push("no link past the navigation");
	const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
	ids.filter((id, i) => ids.indexOf(id) !== i).forEach(id => wrong.push("the id " + id + " twice"));
	document.querySelectorAll("[aria-labelledby],[aria-describedby]").forEach(e => {
		for (const id of (e.getAttribute("aria-labelledby") + " " + e.getAttribute("aria-describedby")).split(" "))
			if (id !== "null" && !document.getElementById(id)) wrong.push("no element " + id);
	});
	document.querySelectorAll("input:not([type=hidden]),select,textarea").forEach(e => {
		if (!e.labels.length && !e.getAttribute("aria-label")) wrong.push("no label: " + e.name);
	});
	document.querySelectorAll("table").forEach(t => {
		if (!t.caption) wrong.push("a table without a caption");
		t.querySelectorAll("th").forEach(h => { if (!h.scope) wrong.push("a header without a scope: " + h.textContent); });
	});
	document.querySelectorAll("svg").forEach(s => {
		if (s.getAttribute("aria-hidden") !== "true" && !(s.getAttribute("role") === "img" && s.getAttribute("aria-label"))) wrong.push("a drawing without a text");
	});
	document.querySelectorAll("[tabindex]").forEach(e => { if (e.tabIndex > 0) wrong.push("a tabindex above 0"); });
	if (document.querySelector("[style],[onclick],style,script:not([src])")) wrong.push("inline style or script");
	return wrong;
})()`

func (b *browser) checkStructure() {
	b.t.Helper()
	for _, wrong := range eval[[]string](b, structure) {
		b.t.Errorf("%s: %s", b.path(), wrong)
	}
}

// named are the roles whose elements need a name.
var named = map[string]bool{
	"button": true, "link": true, "textbox": true, "search" + "box": true, "combobox": true, "checkbox": true, "radio": true, "image": true,
	"table": true, "navigation": true, "heading": true, "group": false, "spinbutton": true,
}

// checkNames asks Chromium for what a screen reader is told.
func (b *browser) checkNames() {
	b.t.Helper()
	tree, err := get(b, func(ctx context.Context, t *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	if err != nil {
		b.t.Fatal(err)
	}
	seen := map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := axText(n.Role)
		seen[role]++
		if named[role] && axText(n.Name) == "" {
			b.t.Errorf("%s: a %s without a name", b.path(), role)
		}
	}
	if seen["main"] != 1 || seen["heading"] == 0 || seen["banner"] != 1 {
		b.t.Errorf("%s: roles %v", b.path(), seen)
	}
}

func axText(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}

func (b *browser) checkWidth(width int64) {
	b.t.Helper()
	if got := eval[int64](b, `document.documentElement.scrollWidth`); got > width {
		b.t.Errorf("%s is %d pixels wide on a screen of %d: %s", b.path(), got, width, eval[string](b, `[...document.querySelectorAll("body *")]
			.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90)).slice(0, 3).join(" | ")`))
	}
}

// contrast returns the texts whose contrast with what is behind them is too low: under 4.5 to 1, or 3 to 1 if they are large.
const contrast = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = color => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = color;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const behind = e => {
		if (!e) return rgba(getComputedStyle(document.documentElement).backgroundColor);
		const own = rgba(getComputedStyle(e).backgroundColor);
		return own[3] === 1 ? own : over(own, behind(e.parentElement));
	};
	const light = c => { const [r, g, b] = c.map(x => x / 255).map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
	const low = [];
	let checked = 0;
	const check = (e, color, text) => {
		const style = getComputedStyle(e), size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
		const back = behind(e), got = ratio(over(rgba(color), back), back), want = size >= 24 || bold && size >= 18.66 ? 3 : 4.5;
		checked++;
		if (got < want) low.push(got.toFixed(2) + ": " + text.trim().slice(0, 40));
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const e = walker.currentNode.parentElement, text = walker.currentNode.data;
		if (!text.trim() || !e.getClientRects().length || e.closest("[aria-hidden=true],script")) continue;
		const style = getComputedStyle(e);
		check(e, e.closest("svg") ? style.fill : style.color, text);
	}
	document.querySelectorAll("input:not([type=hidden]),textarea,select").forEach(e => { if (e.getClientRects().length) check(e, getComputedStyle(e).color, e.name); });
	return { low, checked };
})()`

func (b *browser) checkContrast(scheme string) {
	b.t.Helper()
	got := eval[struct {
		Low     []string `json:"low"`
		Checked int      `json:"checked"`
	}](b, contrast)
	for _, low := range got.Low {
		b.t.Errorf("%s, %s: contrast %s", b.path(), scheme, low)
	}
	if got.Checked < 5 {
		b.t.Errorf("%s: only %d texts were checked", b.path(), got.Checked)
	}
}
