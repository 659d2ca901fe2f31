// Draws the diagrams, again when the reader changes the theme. Without mermaid they stay text.
const diagrams = [...document.querySelectorAll("code.language-mermaid")].map((code) => ({
    source: code.textContent,
    place: code.parentElement,
}));
const isDark = () => !/\b(light|rust)\b/.test(document.documentElement.className);

async function draw(dark) {
    mermaid.initialize({
        theme: dark ? "dark" : "default",
        sequence: { diagramMarginX: 10 },
        suppressErrorRendering: true,
    });
    for (const [number, diagram] of diagrams.entries()) {
        const figure = document.createElement("figure");
        figure.innerHTML = (await mermaid.render(`diagram-${number}`, diagram.source)).svg;
        // Text that is smaller can't be read; on a phone you scroll.
        const { style } = figure.firstChild;
        style.minWidth = `calc(0.7 * ${style.maxWidth})`;
        diagram.place.replaceWith(figure);
        diagram.place = figure;
    }
}

if (diagrams.length > 0) {
    const script = document.createElement("script");
    script.src = path_to_root + "mermaid.tiny.js";
    script.onload = () => {
        let dark = isDark();
        const drawn = draw(dark);
        new MutationObserver(() => {
            if (dark !== isDark()) draw((dark = isDark()));
        }).observe(document.documentElement, { attributeFilter: ["class"] });
        // The page of the whole book prints itself as soon as it is loaded.
        const print = window.print.bind(window);
        window.print = () => drawn.then(print);
    };
    document.head.append(script);
}
