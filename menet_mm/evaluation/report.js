'use strict';
// Shows the pictures of the chosen kind (a classifier has but one) and class, and hides boxes below the score of the slider.
const kind = document.getElementById('kind'), label = document.getElementById('label'), score = document.getElementById('score');
function show() {
  const least = Number(score.value);
  let count = 0;
  for (const card of document.querySelectorAll('.cards figure')) {
    const own = Number(card.dataset.score);
    // A missed object is one that no box of the score finds; all others are boxes.
    const counts = card.dataset.kind === 'missed' ? own < least || own === 0 : own >= least;
    const chosen = (!kind?.value || card.dataset.kind === kind.value) && (!label.value || card.dataset.labels.split(' ').includes(label.value));
    card.hidden = !(counts && chosen);
    count += !card.hidden;
  }
  for (const box of document.querySelectorAll('.cards g[data-score]')) box.toggleAttribute('hidden', Number(box.dataset.score) < least);
  document.getElementById('least').textContent = least.toFixed(2);
  document.getElementById('count').textContent = count;
}
if (score) {  // a comparison has no pictures
  for (const control of [kind, label, score].filter(Boolean)) control.addEventListener('input', show);
  document.querySelector('.controls').hidden = false;
  show();
}

// A plot that is clicked takes the page's width, until it is clicked again.
for (const plot of document.querySelectorAll('.plots svg')) {
  const zoom = () => plot.setAttribute('aria-pressed', plot.classList.toggle('zoomed'));
  for (const [name, value] of Object.entries({ role: 'button', tabindex: 0, 'aria-pressed': false, 'aria-label': 'enlarge this plot' })) plot.setAttribute(name, value);
  plot.addEventListener('click', zoom);
  plot.addEventListener('keydown', event => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    zoom();
  });
}
