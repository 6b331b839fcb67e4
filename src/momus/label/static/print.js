// The button that prints; there is none without JavaScript.
const button = document.getElementById("print");
button.hidden = false;
button.addEventListener("click", () => window.print());
