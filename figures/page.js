// Sort a table by a click on its header, and copy commands. Without this the page is the same.
for (const table of document.querySelectorAll('table.runs')) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement('button');
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener('click', () => {
      // Numbers begin with the greatest, which is mostly the best.
      const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
      const numeric = cells.some((cell) => cell.dataset.value !== undefined);
      const first = numeric ? 'descending' : 'ascending';
      const other = numeric ? 'ascending' : 'descending';
      const order = header.getAttribute('aria-sort') === first ? other : first;
      headers.forEach((one) => one.removeAttribute('aria-sort'));
      header.setAttribute('aria-sort', order);
      const sign = order === 'ascending' ? 1 : -1;
      cells.sort((a, b) => {
        const [x, y] = [a.dataset.value, b.dataset.value];
        if (!numeric) return sign * a.textContent.localeCompare(b.textContent, 'en');
        // What has no number stays below, either way.
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        return sign * (x - y);
      });
      table.tBodies[0].append(...cells.map((cell) => cell.parentNode));
    });
  });
}
for (const line of document.querySelectorAll('.command')) {
  const button = document.createElement('button');
  button.textContent = 'copy';
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(line.querySelector('code').textContent);
      button.textContent = 'copied';
    } catch {
      getSelection().selectAllChildren(line.querySelector('code'));
      button.textContent = 'selected';
    }
  });
  line.append(button);
}
