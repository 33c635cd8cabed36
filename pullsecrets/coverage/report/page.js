// Filters the table of all namespaces; without scripts the field stays hidden and every row is shown.
const field = document.getElementById("filter");
const rows = [...document.querySelectorAll("#all tbody tr")];
const count = document.getElementById("shown");
field.closest("p").hidden = false;
field.addEventListener("input", () => {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${rows.length} rows`;
});
