"""Five scikit-learn models on the digits that ship with it, three seeds each, beside CodeCarbon."""

import csv
from pathlib import Path

from codecarbon import OfflineEmissionsTracker
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

MODELS = {
    "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "extra_trees": lambda seed: ExtraTreesClassifier(300, random_state=seed),
    "forest": lambda seed: RandomForestClassifier(300, random_state=seed),
    "logistic": lambda seed: LogisticRegression(max_iter=3000, random_state=seed),
    "perceptron": lambda seed: MLPClassifier((256,), max_iter=400, random_state=seed),
}

images, labels = load_digits(return_X_y=True)
with Path("accuracy.csv").open("w", newline="") as stream:
    writer = csv.writer(stream)
    writer.writerow(["run", "model", "seed", "accuracy"])
    for name, make in MODELS.items():
        for seed in range(3):
            split = train_test_split(images, labels, test_size=0.3, random_state=seed)
            train_images, test_images, train_labels, test_labels = split
            run = f"{name}-{seed}"
            tracker = OfflineEmissionsTracker(project_name=run, country_iso_code="DNK", log_level="error")
            tracker.start()
            model = make(seed).fit(train_images, train_labels)
            tracker.stop()
            writer.writerow([run, name, seed, model.score(test_images, test_labels)])
