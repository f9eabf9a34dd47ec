/* SPDX-License-Identifier: Apache-2.0 */
/* Run in the page by browser.py: what keeps people out, as sentences. Names and roles are the browser's own business (computedlabel). */
const found = [];
const isShown = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
const tell = (e, what) => found.push(`${e.tagName.toLowerCase()}${e.id ? "#" + e.id : ""}: ${what}`);
const all = (css, root = document) => [...root.querySelectorAll(css)];

if (!document.documentElement.lang) found.push("html: no lang");
if (!document.title.trim()) found.push("html: no title");
if (all("main").filter(isShown).length !== 1) found.push("html: not one main");
if (!/width=device-width/.test(document.querySelector("meta[name=viewport]")?.content || "")) found.push("html: no viewport");
if (/user-scalable=no|maximum-scale/.test(document.querySelector("meta[name=viewport]")?.content || "")) found.push("html: zoom is forbidden");

/* Headings: one h1, no level left out. */
const levels = all("h1,h2,h3,h4,h5,h6").filter(isShown).map((e) => Number(e.tagName[1]));
if (levels.filter((n) => n === 1).length !== 1) found.push("headings: not one h1");
levels.forEach((n, i) => { if (n > (i ? levels[i - 1] : 0) + 1) found.push(`headings: h${n} after h${levels[i - 1]}`); });

/* References lead somewhere, ids are there once. */
const ids = all("[id]").map((e) => e.id);
for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) found.push(`#${id}: twice`);
for (const name of ["for", "aria-labelledby", "aria-describedby", "aria-controls"])
  for (const e of all(`[${name}]`))
    for (const id of e.getAttribute(name).split(/\s+/)) if (!document.getElementById(id)) tell(e, `${name}=${id} leads nowhere`);

/* Every field has a label one can see, not only a placeholder. */
for (const e of all("input,select,textarea,progress").filter(isShown))
  if (!e.labels || ![...e.labels].some((label) => isShown(label) && label.textContent.trim())) tell(e, "no visible label");
for (const e of all("ul,ol").filter(isShown))
  if ([...e.children].some((child) => child.tagName !== "LI")) tell(e, "a list with something else than items");
for (const e of all("[tabindex]")) if (Number(e.getAttribute("tabindex")) > 0) tell(e, "tabindex above 0");
for (const e of all("[style],[onclick],[onload]")) tell(e, "inline style or script");
for (const e of all("img").filter(isShown)) if (!e.hasAttribute("alt")) tell(e, "no alt");
for (const e of all("svg").filter(isShown)) if (e.getAttribute("aria-hidden") !== "true" && !e.getAttribute("aria-label")) tell(e, "no name");

/* Large enough to hit (WCAG 2.2, 2.5.8). */
for (const e of all("button,input,summary,a").filter(isShown)) {
  const box = e.getBoundingClientRect();
  if ((box.width < 24 || box.height < 24) && !e.classList.contains("skip")) tell(e, `${box.width.toFixed()} x ${box.height.toFixed()} is too small`);
}

/* Contrast (WCAG 2.2, 1.4.3 for text, 1.4.11 for the edge of fields), computed from what is painted. */
const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const over = (top, below) => { const a = top[3] ?? 1; return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)); };
const backdrop = (e) => {
  const layers = [];
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if ((c[3] ?? 1) > 0) layers.push(c);
    if ((c[3] ?? 1) === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
};
const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || seen.has(e) || !isShown(e) || e.closest("[disabled],script,style,template,noscript")) continue;
  seen.add(e);
  const style = getComputedStyle(e), px = parseFloat(style.fontSize);
  const wanted = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  const got = contrast(over(parse(style.color), backdrop(e)), backdrop(e));
  if (got < wanted) tell(e, `contrast ${got.toFixed(2)}: ${e.textContent.trim().slice(0, 30)}`);
}
for (const e of all("input:not([type=file])").filter(isShown)) {
  const style = getComputedStyle(e), outside = backdrop(e.parentElement);
  const got = contrast(parse(style.borderTopColor), outside);
  if (got < 3) tell(e, `edge contrast ${got.toFixed(2)}`);
  const place = contrast(parse(getComputedStyle(e, "::placeholder").color), backdrop(e));
  if (e.placeholder && place < 4.5) tell(e, `placeholder contrast ${place.toFixed(2)}`);
}

/* Reflow (1.4.10): nothing to scroll sideways. */
if (document.documentElement.scrollWidth > innerWidth) found.push(`html: ${document.documentElement.scrollWidth} px wide in ${innerWidth}`);
return found;
