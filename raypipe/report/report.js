// The page works without this: it opens all prompts at once and sorts them by another comparison.
(() => {
  const list = document.getElementById("prompts");
  if (!list) return;
  const prompts = [...list.querySelectorAll("details.prompt")];
  const controls = document.getElementById("controls");
  controls.hidden = false;
  document.getElementById("open-all").addEventListener("click", (event) => {
    const open = prompts.some((prompt) => !prompt.open);
    for (const prompt of prompts) prompt.open = open;
    event.target.textContent = open ? "Close all" : "Open all";
  });
  const sort = document.getElementById("sort");
  if (sort) {
    sort.addEventListener("change", () => {
      const value = (prompt) => Number(prompt.dataset.order.split(" ")[sort.selectedIndex]);
      list.append(...prompts.sort((x, y) => value(y) - value(x)));
    });
  }
})();
