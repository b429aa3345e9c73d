/* What is wider than its box can be scrolled with the keys, for which it must be focusable. */
const BOXES = "mjx-container, .pst-scrollable-table-container, .cell_output .output, div.highlight pre, div.math";

function mark() {
  for (const box of document.querySelectorAll(BOXES)) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
  }
}

addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  mark();
  addEventListener("resize", mark);
});
