// The page works without this: it opens all prompts at once and sorts them by another comparison.
(() => {
  const list = document.getElementById("prompts");
  if (!list) return;
  const prompts = [...list.querySelectorAll("details.prompt")];
  const controls = document.getElementById("controls");
  controls.hidden = false;
  const button = document.getElementById("open-all");
  const closed = () => prompts.some((prompt) => !prompt.open);
  const label = () => { button.textContent = closed() ? "Open all" : "Close all"; };
  button.addEventListener("click", () => {
    const open = closed();
    for (const prompt of prompts) prompt.open = open;
  });
  list.addEventListener("toggle", label, true);
  label();
  const sort = document.getElementById("sort");
  if (sort) {
    sort.addEventListener("change", () => {
      const value = (prompt) => Number(prompt.dataset.order.split(" ")[sort.selectedIndex]);
      list.append(...prompts.sort((x, y) => value(y) - value(x)));
    });
  }
})();
